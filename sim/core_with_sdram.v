// SPDX-License-Identifier: Apache-2.0
// A core and the SDRAM of its weights, with the ports of a core that has all of them inside.
`timescale 1ns / 1ps
module core_with_sdram #(
    parameter INPUT_BITS = 8,
    parameter BANK_BITS = 2,
    parameter ADDRESS_BITS = 13,
    parameter WORDS = 1
) (
    input  wire                  clk,
    input  wire                  rst,
    input  wire [INPUT_BITS-1:0] s_axis_tdata,
    input  wire                  s_axis_tvalid,
    output wire                  s_axis_tready,
    input  wire                  s_axis_tlast,
    output wire [7:0]            m_axis_tdata,
    output wire                  m_axis_tvalid,
    input  wire                  m_axis_tready,
    output wire                  m_axis_tlast,
    output wire                  frame_error
);
    wire        clk_en, cs, ras, cas, we, dq_oe;
    wire [BANK_BITS-1:0] ba;
    wire [ADDRESS_BITS-1:0] a;
    wire [15:0] dq_o, dq_i;
    wire [1:0]  dqm;

    tepal core (
        .clk(clk), .rst(rst),
        .s_axis_tdata(s_axis_tdata), .s_axis_tvalid(s_axis_tvalid), .s_axis_tready(s_axis_tready),
        .s_axis_tlast(s_axis_tlast), .m_axis_tdata(m_axis_tdata), .m_axis_tvalid(m_axis_tvalid),
        .m_axis_tready(m_axis_tready), .m_axis_tlast(m_axis_tlast), .frame_error(frame_error),
        .pins__clk_en(clk_en), .pins__cs(cs), .pins__ras(ras), .pins__cas(cas), .pins__we(we), .pins__ba(ba),
        .pins__a(a), .pins__dqm(dqm), .pins__dq_o(dq_o), .pins__dq_oe(dq_oe), .pins__dq_i(dq_i));

    sdram_behind_pads #(.BANK_BITS(BANK_BITS), .ADDRESS_BITS(ADDRESS_BITS), .WORDS(WORDS)) memory (
        .clk(clk), .clk_en(clk_en), .cs(cs), .ras(ras), .cas(cas), .we(we), .ba(ba), .a(a), .dqm(dqm), .dq_o(dq_o),
        .dq_oe(dq_oe), .dq_i(dq_i));
endmodule
