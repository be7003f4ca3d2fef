// What happens at which cycle, written to the file of +tepal_tap=FILE. Nothing of it is left after synthesis.
//
// A line: cycle, kind, block, data. Kinds: A/L first and last beat of an image accepted, O first result byte
// offered, M result byte taken (data: tlast, byte), S first step of a block, F its first feed, R depthwise word
// written to the tile buffer, r the tile's last one, D results written (data: enable, word), E the block's last.
module tepal_tap #(
    parameter LANES = 1,
    parameter PARTS = 1
) (
    input wire               clk,
    input wire               rst,
    input wire               accepted,
    input wire               accepted_last,
    input wire               offered,
    input wire               sent,
    input wire               sent_last,
    input wire [7:0]         sent_data,
    input wire               step_begins,
    input wire [15:0]        step_block,
    input wire               feed_begins,
    input wire [15:0]        feed_block,
    input wire               tile_write,
    input wire               tile_end,
    input wire [15:0]        tile_block,
    input wire [8*LANES-1:0] tile_data,
    input wire [PARTS-1:0]   drain_write,
    input wire               drain_end,
    input wire [15:0]        drain_block,
    input wire [8*LANES-1:0] drain_data
);
`ifdef TEPAL_TAP
    integer file = 0;
    integer cycle = 0;
    reg inside_frame = 0;
    reg showing = 0;
    reg [8*1024-1:0] name;
    initial if ($value$plusargs("tepal_tap=%s", name)) file = $fopen(name, "w");
    always @(posedge clk) if (file != 0) begin
        cycle <= cycle + 1;
        if (accepted) begin
            inside_frame <= !accepted_last;
            if (!inside_frame) $fwrite(file, "%0d A 0 0\n", cycle);
            if (accepted_last) $fwrite(file, "%0d L 0 0\n", cycle);
        end
        if (offered && !showing) $fwrite(file, "%0d O 0 0\n", cycle);
        if (offered) showing <= !(sent && sent_last);
        if (sent) $fwrite(file, "%0d M 0 %0d%h\n", cycle, sent_last, sent_data);
        if (step_begins) $fwrite(file, "%0d S %0d 0\n", cycle, step_block);
        if (feed_begins) $fwrite(file, "%0d F %0d 0\n", cycle, feed_block);
        if (tile_write) $fwrite(file, "%0d %s %0d %h\n", cycle, tile_end ? "r" : "R", tile_block, tile_data);
        if (drain_write != 0) $fwrite(file, "%0d D %0d %h.%h\n", cycle, drain_block, drain_write, drain_data);
        if (drain_end) $fwrite(file, "%0d E %0d 0\n", cycle, drain_block);
    end
`endif
endmodule
