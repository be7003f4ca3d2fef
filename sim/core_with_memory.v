// SPDX-License-Identifier: Apache-2.0
// A core and the memory of its weights, with the ports of a core that has all of them inside.
`timescale 1ns / 1ps
module core_with_memory #(
    parameter INPUT_BITS = 8,
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
    wire [31:0] araddr;
    wire [7:0]  arlen;
    wire [2:0]  arsize;
    wire [1:0]  arburst, rresp;
    wire [63:0] rdata;
    wire        arvalid, arready, rlast, rvalid, rready;

    tepal core (
        .clk(clk), .rst(rst), .weights_base(32'd0), .weights_start(1'b1), .weights_error(),
        .s_axis_tdata(s_axis_tdata), .s_axis_tvalid(s_axis_tvalid), .s_axis_tready(s_axis_tready),
        .s_axis_tlast(s_axis_tlast), .m_axis_tdata(m_axis_tdata), .m_axis_tvalid(m_axis_tvalid),
        .m_axis_tready(m_axis_tready), .m_axis_tlast(m_axis_tlast), .frame_error(frame_error),
        .m_axi_araddr(araddr), .m_axi_arlen(arlen), .m_axi_arsize(arsize), .m_axi_arburst(arburst),
        .m_axi_arvalid(arvalid), .m_axi_arready(arready), .m_axi_rdata(rdata), .m_axi_rresp(rresp),
        .m_axi_rlast(rlast), .m_axi_rvalid(rvalid), .m_axi_rready(rready));

    axi_memory #(.WORDS(WORDS)) memory (
        .clk(clk), .rst(rst), .araddr(araddr), .arlen(arlen), .arsize(arsize), .arburst(arburst), .arvalid(arvalid),
        .arready(arready), .rdata(rdata), .rresp(rresp), .rlast(rlast), .rvalid(rvalid), .rready(rready));
endmodule
