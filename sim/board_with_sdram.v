// SPDX-License-Identifier: Apache-2.0
// A board's design and the SDRAM of its weights, with the ports of a board that has none. Between the two lie the
// registers that a board has in its pins.
`timescale 1ns / 1ps
module board_with_sdram #(
    parameter BANK_BITS = 2,
    parameter ADDRESS_BITS = 13,
    parameter WORDS = 1
) (
    input  wire       clk,
    input  wire       rst,
    input  wire       rx,
    output wire       tx,
    output wire       ready,
    output wire       busy,
    output wire       error,
    output wire [3:0] result,
    output wire       flash_cs,
    output wire       flash_clk,
    output wire       flash_copi,
    input  wire       flash_cipo
);
    wire        clk_en, cs, ras, cas, we, dq_oe;
    wire [BANK_BITS-1:0] ba;
    wire [ADDRESS_BITS-1:0] a;
    wire [15:0] dq_o, dq_i;
    wire [1:0]  dqm;

    tepal board (
        .clk(clk), .rst(rst), .rx(rx), .tx(tx), .ready(ready), .busy(busy), .error(error), .result(result),
        .flash_cs(flash_cs), .flash_clk(flash_clk), .flash_copi(flash_copi), .flash_cipo(flash_cipo),
        .sdram_pins__clk_en(clk_en), .sdram_pins__cs(cs), .sdram_pins__ras(ras), .sdram_pins__cas(cas),
        .sdram_pins__we(we), .sdram_pins__ba(ba), .sdram_pins__a(a), .sdram_pins__dqm(dqm), .sdram_pins__dq_o(dq_o),
        .sdram_pins__dq_oe(dq_oe), .sdram_pins__dq_i(dq_i));

    sdram_behind_pads #(.BANK_BITS(BANK_BITS), .ADDRESS_BITS(ADDRESS_BITS), .WORDS(WORDS)) memory (
        .clk(clk), .clk_en(clk_en), .cs(cs), .ras(ras), .cas(cas), .we(we), .ba(ba), .a(a), .dqm(dqm), .dq_o(dq_o),
        .dq_oe(dq_oe), .dq_i(dq_i));
endmodule
