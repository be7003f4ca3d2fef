// SPDX-License-Identifier: Apache-2.0
// Plays what is at an SDRAM's pins, a cycle a line of +pins=FILE, and prints what it puts out in each.
`timescale 1ns / 1ps
module bench;
    reg clk = 0, clk_en, cs, ras, cas, we, dq_oe;
    reg [7:0] ba;
    reg [15:0] a, dq_o;
    reg [1:0] dqm;
    wire [15:0] dq_i;
    reg [8*1024-1:0] name;
    integer file;

    sdram_memory #(.WORDS(128)) memory (
        .clk(clk), .clk_en(clk_en), .cs(cs), .ras(ras), .cas(cas), .we(we), .ba(ba), .a(a), .dqm(dqm), .dq_o(dq_o),
        .dq_oe(dq_oe), .dq_i(dq_i));

    initial begin
        if (!$value$plusargs("pins=%s", name)) $fatal(1, "no pins");
        file = $fopen(name, "r");
        while ($fscanf(file, "%h %h %h %h %h %h %h %h %h %h\n", clk_en, cs, ras, cas, we, ba, a, dqm, dq_o, dq_oe) == 10)
        begin
            #1 $display("%h", dq_i);
            clk = 1;
            #1 clk = 0;
        end
        $finish;
    end
endmodule
