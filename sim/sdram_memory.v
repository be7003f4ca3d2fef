// SPDX-License-Identifier: Apache-2.0
// An SDR SDRAM of 16 bits inside a simulator. It does what SdramModel in sdram_model.py does, which says more of the
// rules, and ends the simulation when one of them is broken.
//
//     +memory=FILE           contents from the first word on, for $readmemh: 64 bits a line, the lowest 16 first
//     +sdram_NAME=N          for each field of SdramTiming
`timescale 1ns / 1ps
module sdram_memory #(
    parameter WORDS = 1
) (
    input  wire        clk,
    input  wire        clk_en,
    input  wire        cs,
    input  wire        ras,
    input  wire        cas,
    input  wire        we,
    input  wire [7:0]  ba,
    input  wire [15:0] a,
    input  wire [1:0]  dqm,
    input  wire [15:0] dq_o,
    input  wire        dq_oe,
    output reg  [15:0] dq_i = 0
);
    // verilator lint_off BLKSEQ
    // verilator lint_off WIDTH
    localparam BANKS = 4, LONG_AGO = -1000000;

    integer columns = 4, banks = 1, cas_latency = 3, activate_to_column = 0, precharge = 0, active = 0, row_cycle = 0;
    integer refresh_cycle = 0, banks_apart = 0, write_recovery = 0, mode_cycle = 0, refresh_interval = 0, pause = 0;
    integer first_refreshes = 0;
    reg told = 1;
    initial begin
        told = told && $value$plusargs("sdram_columns=%d", columns);
        told = told && $value$plusargs("sdram_banks=%d", banks);
        told = told && $value$plusargs("sdram_cas_latency=%d", cas_latency);
        told = told && $value$plusargs("sdram_activate_to_column=%d", activate_to_column);
        told = told && $value$plusargs("sdram_precharge=%d", precharge);
        told = told && $value$plusargs("sdram_active=%d", active);
        told = told && $value$plusargs("sdram_row_cycle=%d", row_cycle);
        told = told && $value$plusargs("sdram_refresh_cycle=%d", refresh_cycle);
        told = told && $value$plusargs("sdram_banks_apart=%d", banks_apart);
        told = told && $value$plusargs("sdram_write_recovery=%d", write_recovery);
        told = told && $value$plusargs("sdram_mode_cycle=%d", mode_cycle);
        told = told && $value$plusargs("sdram_refresh_interval=%d", refresh_interval);
        told = told && $value$plusargs("sdram_pause=%d", pause);
        told = told && $value$plusargs("sdram_first_refreshes=%d", first_refreshes);
        if (!told || banks > BANKS) $fatal(1, "sdram_memory: +sdram_NAME=N is needed for each time, and banks up to 4");
    end

    reg [63:0] words [0:WORDS-1];
    reg [8*1024-1:0] name;
    initial if ($value$plusargs("memory=%s", name)) $readmemh(name, words);

    // The cycle of the last command of a kind, and of each bank's.
    integer now = 0, refreshed = LONG_AGO, programmed = LONG_AGO, activated = LONG_AGO, refreshes = 0;
    integer opened [0:BANKS-1], closed [0:BANKS-1], written [0:BANKS-1], row [0:BANKS-1];
    reg [BANKS-1:0] open = 0;
    reg all_closed = 0, mode_set = 0;
    // The burst under way: words left, and where the present one lies.
    integer left = 0, bank = 0, column = 0;
    reg reading = 0, writing = 0;
    // Reads of this cycle and of those before, and what was read in them.
    reg [7:0] reads = 0;
    reg [15:0] found [0:7];
    reg [2:0] command = 0;
    integer place = 0, index = 0;
    initial for (index = 0; index < BANKS; index = index + 1) begin
        opened[index] = LONG_AGO; closed[index] = LONG_AGO; written[index] = LONG_AGO; row[index] = 0;
    end

    task keep(input [8*24-1:0] rule, input kept);
        if (!kept) $fatal(1, "sdram_memory: the rule %0s is broken in cycle %0d", rule, now);
    endtask

    task close(input integer which);
        if (open[which]) begin
            keep("active", now - opened[which] >= active);
            keep("write_recovery", now - written[which] >= write_recovery);
            keep("burst", left == 0 || bank != which);
        end
    endtask

    always @(posedge clk) begin
        now = now + 1;
        command = cs ? {ras, cas, we} : 3'b000;
        keep("command", clk_en);
        if (command != 0) begin
            keep("start", now > pause);
            keep("refresh_cycle", now - refreshed >= refresh_cycle);
            keep("mode_cycle", now - programmed >= mode_cycle);
        end
        keep("refresh_interval", refreshes == 0 || now - refreshed <= refresh_interval);
        case (command)
            3'b000: ;
            3'b100: begin // ACTIVATE
                keep("start", mode_set && refreshes >= first_refreshes);
                keep("bank", !open[ba]);
                keep("precharge", now - closed[ba] >= precharge);
                keep("row_cycle", now - opened[ba] >= row_cycle);
                keep("banks_apart", now - activated >= banks_apart);
                open[ba] = 1; opened[ba] = now; activated = now; row[ba] = a;
            end
            3'b101: // PRECHARGE
                for (index = 0; index < BANKS; index = index + 1) if (a[10] || index == ba) begin
                    close(index);
                    closed[index] = now; open[index] = 0;
                    if (a[10]) all_closed = 1;
                end
            3'b110, 3'b111: begin // REFRESH, the mode register
                keep("start", all_closed);
                keep("bank", open == 0);
                for (index = 0; index < BANKS; index = index + 1) begin
                    keep("precharge", now - closed[index] >= precharge);
                    if (command == 3'b110) keep("row_cycle", now - opened[index] >= row_cycle);
                end
                if (command == 3'b110) begin
                    refreshed = now; refreshes = refreshes + 1;
                end else begin
                    keep("mode", a == (cas_latency << 4 | 2) && ba == 0);
                    programmed = now; mode_set = 1;
                end
            end
            3'b010, 3'b011: begin // READ, WRITE
                keep("command", !a[10]);
                keep("start", mode_set && refreshes >= first_refreshes);
                keep("bank", open[ba]);
                keep("activate_to_column", now - opened[ba] >= activate_to_column);
                keep("burst", left == 0 && a[1:0] == 0);
                left = 4; bank = ba; column = a; reading = !we; writing = we;
            end
            default: keep("command", 0);
        endcase

        reads = {reads, 1'b0};
        for (index = 7; index > 0; index = index - 1) found[index] = found[index-1];
        if (left != 0) begin
            place = (row[bank] * banks + bank) * (columns / 4) + column / 4;
            reads[0] = reading;
            found[0] = words[place][16*(column%4) +: 16];
            if (writing) begin
                keep("bus", dq_oe);
                if (!dqm[0]) words[place][16*(column%4) +: 8] = dq_o[7:0];
                if (!dqm[1]) words[place][16*(column%4)+8 +: 8] = dq_o[15:8];
                written[bank] = now;
            end
            left = left - 1; column = column + 1;
        end
        keep("command", !(reads[cas_latency-2] && dqm != 0));
        keep("bus", !(dq_oe && (reads[cas_latency] || reads[cas_latency+1])));
        dq_i <= reads[cas_latency-1] ? found[cas_latency-1] : ~found[cas_latency-1];
    end
endmodule

// The memory as a board's design sees it, with a register in each pin.
module sdram_behind_pads #(
    parameter BANK_BITS = 2,
    parameter ADDRESS_BITS = 13,
    parameter WORDS = 1
) (
    input  wire                    clk,
    input  wire                    clk_en,
    input  wire                    cs,
    input  wire                    ras,
    input  wire                    cas,
    input  wire                    we,
    input  wire [BANK_BITS-1:0]    ba,
    input  wire [ADDRESS_BITS-1:0] a,
    input  wire [1:0]              dqm,
    input  wire [15:0]             dq_o,
    input  wire                    dq_oe,
    output reg  [15:0]             dq_i = 0
);
    reg late_clk_en = 1, late_cs = 0, late_ras = 0, late_cas = 0, late_we = 0, late_dq_oe = 0;
    reg [BANK_BITS-1:0] late_ba = 0;
    reg [ADDRESS_BITS-1:0] late_a = 0;
    reg [1:0] late_dqm = 0;
    reg [15:0] late_dq_o = 0;
    wire [15:0] now;
    always @(posedge clk) begin
        {late_clk_en, late_cs, late_ras, late_cas, late_we, late_dq_oe} <= {clk_en, cs, ras, cas, we, dq_oe};
        {late_ba, late_a, late_dqm, late_dq_o, dq_i} <= {ba, a, dqm, dq_o, now};
    end

    sdram_memory #(.WORDS(WORDS)) memory (
        .clk(clk), .clk_en(late_clk_en), .cs(late_cs), .ras(late_ras), .cas(late_cas), .we(late_we), .ba(late_ba),
        .a(late_a), .dqm(late_dqm), .dq_o(late_dq_o), .dq_oe(late_dq_oe), .dq_i(now));
endmodule
