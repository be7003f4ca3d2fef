// A reader of weights and its memory. A line for each beat: cycle in which it was first there, cycle in which it was
// taken, the beat. Then the errors and whether it runs.
//
//     +beats=N   ends after so many, or 200 cycles after an error
//     +share=N   256ths of the cycles in which a beat can be taken
`timescale 1ns / 1ps
`ifdef VERILATOR // whose clock is driven from C++: not every compiler has what its own needs
module bench #(parameter WORDS = 1) (input clk);
`else
module bench #(parameter WORDS = 1);
    reg clk = 0;
    always #5 clk = ~clk;
`endif
    localparam BASE = 32'h80;

    reg rst = 1, ready = 0;
    wire [31:0] araddr;
    wire [7:0] arlen;
    wire [2:0] arsize;
    wire [1:0] arburst, rresp, error;
    wire arvalid, arready, rlast, rvalid, rready, valid, running;
    wire [63:0] rdata, data;

    reader reader(
        .clk(clk), .rst(rst), .start(1'b1), .base(BASE), .data(data), .valid(valid), .ready(ready), .running(running),
        .error(error), .m_axi_araddr(araddr), .m_axi_arlen(arlen), .m_axi_arsize(arsize), .m_axi_arburst(arburst),
        .m_axi_arvalid(arvalid), .m_axi_arready(arready), .m_axi_rdata(rdata), .m_axi_rresp(rresp),
        .m_axi_rlast(rlast), .m_axi_rvalid(rvalid), .m_axi_rready(rready));
    axi_memory #(.WORDS(WORDS), .BASE(BASE)) memory(
        .clk(clk), .rst(rst), .araddr(araddr), .arlen(arlen), .arsize(arsize), .arburst(arburst), .arvalid(arvalid),
        .arready(arready), .rdata(rdata), .rresp(rresp), .rlast(rlast), .rvalid(rvalid), .rready(rready));

    integer cycle = 0, beats, share, there = -1, alarm = 200, resets = 4;
    reg [31:0] mixed;
    initial begin
        if (!$value$plusargs("beats=%d", beats)) beats = 1;
        if (!$value$plusargs("share=%d", share)) share = 256;
    end
    // Between two edges: what is seen then is what both sides see at the next one.
    always @(negedge clk) if (resets > 1) resets = resets - 1;
    else begin
        if (resets == 1) begin
            resets = 0;
            rst = 0;
        end
        mixed = (cycle + 1) * 32'd2654435761;
        ready = mixed[31:24] < share;
        // Nothing of the reader depends on `ready` in the same cycle.
        if (valid && there < 0) there = cycle;
        if (valid && ready) begin
            $display("%0d %0d %h", there, cycle, data);
            there = -1;
            beats = beats - 1;
        end
        if (error != 0) alarm = alarm - 1;
        if (beats == 0 || alarm == 0 || !rready) begin
            $display("error %0d running %0d rready %0d", error, running, rready);
            $finish;
        end
        cycle = cycle + 1;
    end
endmodule
