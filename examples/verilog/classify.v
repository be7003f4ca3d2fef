// A design of one's own around the accelerator: a picture from a ROM goes in, again and again, and the LEDs show
// the number of its class. Whatever has a valid/ready stream of bytes can stand in the ROM's place.
`default_nettype none

module classify #(
    parameter INPUT_BYTES = 4,   // digits.json: ports.s_axis.tdata_width / 8
    parameter BEATS = 144        // digits.json: ports.s_axis.beats_per_frame
) (
    input  wire       clk,
    input  wire       rst,
    output reg  [7:0] led
);
    // The picture, a beat a line, from picture.py.
    reg [8*INPUT_BYTES-1:0] picture [0:BEATS-1];
    initial $readmemh("picture.hex", picture);

    // The beat on offer holds until it is taken; only then the next one is fetched.
    reg [$clog2(BEATS)-1:0] beat = 0;
    reg [8*INPUT_BYTES-1:0] pixels;
    reg offered = 0;
    reg last;
    wire taken;
    always @(posedge clk) begin
        if (taken || !offered) begin
            pixels <= picture[beat];
            last <= beat == BEATS - 1;
            beat <= beat == BEATS - 1 ? 0 : beat + 1;
            offered <= 1;
        end
        if (rst) begin
            beat <= 0;
            offered <= 0;
        end
    end

    wire [7:0] result;
    wire result_valid, result_last;
    digits accelerator (
        .clk(clk), .rst(rst),
        .s_axis_tdata(pixels), .s_axis_tvalid(offered), .s_axis_tready(taken), .s_axis_tlast(last),
        .m_axis_tdata(result), .m_axis_tvalid(result_valid), .m_axis_tready(1'b1), .m_axis_tlast(result_last),
        .frame_error()
    );

    // The last four bytes are the index of the largest result, low byte first, the number of the frame and a status,
    // whose bit 7 says that a reset cut this answer off. All on: no answer yet.
    reg [23:0] previous;
    initial led = 8'hff;
    always @(posedge clk) begin
        if (result_valid) begin
            previous <= {result, previous[23:8]};
            if (result_last && !result[7]) led <= previous[7:0];
        end
        if (rst) led <= 8'hff;
    end
endmodule
