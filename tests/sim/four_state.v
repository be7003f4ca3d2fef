// Sends frames to an accelerator and prints what it answers, in a simulator that knows X and Z.
//
// Whatever the accelerator has no right to look at is X: all inputs before the reset, data without valid, ready without
// valid. With RESET = 0 there is no reset at all, as on an FPGA behind its configuration, and no input changes before it
// has to. Plain Verilog-2005, so that it is no reason for a simulator's mode.
`timescale 1ns/1ps

module bench;
    parameter RESET = 1;
    parameter WIDTH = 8;     // bits of an input beat
    parameter BEATS = 1;     // of all frames
    parameter FRAME = 1;     // beats of one
    parameter BYTES = 1;     // of all answers
    parameter WORDS = 0;     // to load
    parameter LIMIT = 1000;  // cycles

    reg clk = 0;
    reg rst = RESET ? 1'bx : 1'b0;
    reg started = RESET ? 1'bx : 1'b1;
    always #5 clk = !clk;
    initial begin
        // The clock runs already: what is X gets a chance to spread.
        repeat (4) @(negedge clk);
        if (RESET) begin
            rst = 1;
            started = 0;
            @(negedge clk) rst = 0;
            started = 1;
        end
    end

    reg [WIDTH-1:0] beats [0:BEATS-1];
    initial $readmemh("beats.hex", beats);
    integer sent = 0, taken = 0, cycles = 0;
    reg ready = 0;
    wire s_tready, m_tvalid, m_tlast;
    wire [7:0] m_tdata;
    wire s_tvalid = started === 1'b1 ? loaded && sent < BEATS : started;
    wire [WIDTH-1:0] s_tdata = s_tvalid ? beats[sent] : {WIDTH{1'bx}};
    wire s_tlast = s_tvalid ? sent % FRAME == FRAME - 1 : 1'bx;
    wire m_tready = m_tvalid ? ready : 1'bx;

    // A word at most every other cycle, each for two.
    reg loaded = WORDS == 0;
`ifdef LOAD
    reg [15:0] words [0:WORDS-1];
    initial $readmemh("weights.hex", words);
    integer half = 0;
    wire offered = started === 1'b1 ? !loaded && half % 2 == 0 : started;
    always @(posedge clk) if (started === 1'b1 && !loaded) begin
        half <= half + 1;
        loaded <= half == 2 * WORDS - 1;
    end
    wire [15:0] word = loaded ? 16'bx : words[half / 2];
`endif

    `NAME core (
`ifdef LOAD
        .load_tdata(word), .load_tvalid(offered), .load_tfirst(offered ? half == 0 : 1'bx),
        .run(started === 1'b1 ? loaded : started),
`endif
        .clk(clk), .rst(rst),
        .s_axis_tdata(s_tdata), .s_axis_tvalid(s_tvalid), .s_axis_tready(s_tready), .s_axis_tlast(s_tlast),
        .m_axis_tdata(m_tdata), .m_axis_tvalid(m_tvalid), .m_axis_tready(m_tready), .m_axis_tlast(m_tlast));

    always @(posedge clk) if (started === 1'b1) begin
        if (s_tvalid && s_tready !== 1'b0) sent <= sent + 1;
        if (m_tvalid !== 1'b0 && ready) begin
            $display("%b %b", m_tlast, m_tdata);
            taken <= taken + 1;
        end
        ready <= cycles % 3 != 0;
        cycles <= cycles + 1;
        if (taken == BYTES || cycles == LIMIT) $finish;
    end
endmodule
