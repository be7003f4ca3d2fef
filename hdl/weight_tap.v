// The cycles in which the last beats of portions of weights are taken, written to the file of +tepal_weights=FILE, one a
// line. Nothing of it is left after synthesis.
module tepal_weight_tap (
    input wire clk,
    input wire complete
);
`ifdef TEPAL_TAP
    integer file = 0;
    integer cycle = 0;
    reg [8*1024-1:0] name;
    initial if ($value$plusargs("tepal_weights=%s", name)) file = $fopen(name, "w");
    always @(posedge clk) if (file != 0) begin
        cycle <= cycle + 1;
        if (complete) $fwrite(file, "%0d\n", cycle);
    end
`endif
endmodule
