// SPDX-License-Identifier: Apache-2.0
// A memory behind an AXI4 port that answers reads, one burst after the other, inside a simulator. To the cycle the same
// as AxiMemory in axi_memory.py, which says more. What it does is told when the simulation begins, in decimal:
//
//     +memory=FILE           contents from BASE on, for $readmemh: 64 bits a line; beyond WORDS it answers DECERR
//     +memory_latency=N      cycles from an accepted address to its first beat, at least 1; as many without this
//     +memory_interval=N     cycles from a beat to the next one, at the least; 1 without this
//     +memory_seed=N         waits at random besides
//     +memory_refresh=N      no beat comes in the first PAUSE of each N cycles
//     +memory_pause=N        that PAUSE, 20 without this
//     +memory_error=N        number of a word that is answered with SLVERR
`timescale 1ns / 1ps
module axi_memory #(
    parameter WORDS = 1,
    parameter ADDRESS_BITS = 32,
    parameter [ADDRESS_BITS-1:0] BASE = 0
) (
    input  wire                    clk,
    input  wire                    rst,
    input  wire [ADDRESS_BITS-1:0] araddr,
    input  wire [7:0]              arlen,
    input  wire [2:0]              arsize,
    input  wire [1:0]              arburst,
    input  wire                    arvalid,
    output reg                     arready = 0,
    output reg  [63:0]             rdata = 0,
    output reg  [1:0]              rresp = 0,
    output reg                     rlast = 0,
    output reg                     rvalid = 0,
    input  wire                    rready
);
    // verilator lint_off BLKSEQ
    // verilator lint_off WIDTH
    localparam QUEUE = 64;

    reg [63:0] words [0:WORDS-1];
    reg [8*1024-1:0] name;
    integer latency = 1, interval = 1, seed = 0, refresh = 0, pause = 20, error = -1;
    initial begin
        if ($value$plusargs("memory=%s", name)) $readmemh(name, words);
        if (!$value$plusargs("memory_latency=%d", latency)) latency = 1;
        if (!$value$plusargs("memory_interval=%d", interval)) interval = 1;
        if (!$value$plusargs("memory_seed=%d", seed)) seed = 0;
        if (!$value$plusargs("memory_refresh=%d", refresh)) refresh = 0;
        if (!$value$plusargs("memory_pause=%d", pause)) pause = 20;
        if (!$value$plusargs("memory_error=%d", error)) error = -1;
    end

    // Bursts that were asked for: where each goes on, how many beats it still has, and from which cycle on they come.
    reg [ADDRESS_BITS-1:0] place [0:QUEUE-1];
    reg [8:0]              left [0:QUEUE-1];
    integer                due [0:QUEUE-1];
    reg [5:0]              first = 0, behind = 0;

    integer cycle = 0, free = 0, in_refresh = 0;
    reg [31:0] random = 0;
    reg [ADDRESS_BITS-1:0] held_address = 0, number = 0;
    reg [7:0] held_length = 0;
    reg held = 0, fresh = 0;
    integer waits = 0;

    task draw; // into `waits`: cycles to wait besides
        if (seed == 0) waits = 0;
        else begin
            random = random ^ (random << 13);
            random = random ^ (random >> 17);
            random = random ^ (random << 5);
            waits = random % 7 == 6 ? 30 : random % 7 == 5 ? 2 : random % 7 == 4 ? 1 : 0;
        end
    endtask

    always @(posedge clk) if (rst) begin
        first = 0; behind = 0; cycle = 0; free = 0; in_refresh = 0; held = 0; fresh = 0;
        random = seed * 32'd2654435761;
        arready <= seed == 0;
        rvalid <= 0;
    end else begin
        if (held && !(arvalid && araddr == held_address && arlen == held_length))
            $fatal(1, "axi_memory: an address changed before it was accepted");
        held = arvalid && !arready; held_address = araddr; held_length = arlen;
        if (arvalid && (arsize != 3 || arburst != 1))
            $fatal(1, "axi_memory: only bursts of type INCR with 64 bits a beat are answered");
        if (arvalid && arready) begin
            if ({20'd0, araddr[11:0]} + 8 * (arlen + 1) > 4096)
                $fatal(1, "axi_memory: the burst at %h crosses a multiple of 4 KiB", araddr);
            draw;
            place[behind] = araddr; left[behind] = arlen + 1; due[behind] = cycle + latency + waits;
            behind = behind + 1;
            if (behind == first) $fatal(1, "axi_memory: more than %0d bursts are outstanding", QUEUE - 1);
        end
        fresh = rvalid && rready;
        if (fresh) begin
            draw;
            free = cycle + interval + waits;
            place[first] = place[first] + 8;
            left[first] = left[first] - 1;
            if (left[first] == 0) first = first + 1;
        end
        cycle = cycle + 1;
        in_refresh = in_refresh + 1 == refresh ? 0 : in_refresh + 1;
        draw;
        arready <= waits == 0;
        if (fresh || !rvalid) begin
            number = (place[first] - BASE) >> 3;
            rvalid <= first != behind && cycle >= due[first] && cycle >= free && !(refresh != 0 && in_refresh < pause);
            rlast <= left[first] == 1;
            rdata <= number < WORDS ? words[number] : 0;
            rresp <= number == error ? 2 : number < WORDS ? 0 : 3;
        end
    end
endmodule
