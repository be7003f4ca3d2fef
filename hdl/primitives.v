// Primitives of the accelerator: the places to put a vendor's own if inference does not serve.

// One port, one cycle from address to data, contents from a file.
// ROM_DIR is the folder of the file, "" for the one that the tool runs in, "?" for unknown.
module tepal_rom #(
    parameter WIDTH = 8,
    parameter DEPTH = 1,
    parameter ADDRESS_BITS = 1,
    parameter FILE = "",
    parameter ROM_DIR = "?"
) (
    input  wire                    clk,
    input  wire [ADDRESS_BITS-1:0] address,
    output reg  [WIDTH-1:0]        data
);
    reg [WIDTH-1:0] words [0:DEPTH-1];
    // Tools that look at the module before its parameters are known must not look for a file.
    generate
        if (ROM_DIR == "") begin : contents
            initial $readmemh(FILE, words);
        end else if (ROM_DIR != "?") begin : contents_elsewhere
            initial $readmemh({ROM_DIR, "/", FILE}, words);
        end
    endgenerate
    always @(posedge clk) data <= words[address];
endmodule

// One write port with enables for parts of a word, one read port, one cycle from address to data.
module tepal_ram #(
    parameter WIDTH = 8,
    parameter DEPTH = 1,
    parameter GRANULARITY = 8,
    parameter ADDRESS_BITS = 1
) (
    input  wire                         clk,
    input  wire [ADDRESS_BITS-1:0]      write_address,
    input  wire [WIDTH-1:0]             write_data,
    input  wire [WIDTH/GRANULARITY-1:0] write_enable,
    input  wire [ADDRESS_BITS-1:0]      read_address,
    output reg  [WIDTH-1:0]             read_data
);
    // Nobody reads the word that is being written: no logic need see to what comes of it.
    (* no_rw_check *) reg [WIDTH-1:0] words [0:DEPTH-1];
    integer part;
`ifndef SYNTHESIS
    // Words that nobody has written are read, and come to nothing; but a simulator makes X of zero times X. They are not
    // zeros, with which something might look right that is not.
    integer word;
    initial for (word = 0; word < DEPTH; word = word + 1) words[word] = {WIDTH{1'b1}};
`endif
    always @(posedge clk) begin
        for (part = 0; part < WIDTH / GRANULARITY; part = part + 1)
            if (write_enable[part])
                words[write_address][part*GRANULARITY +: GRANULARITY]
                    <= write_data[part*GRANULARITY +: GRANULARITY];
        read_data <= words[read_address];
    end
endmodule

// One port, in each cycle a write of parts of a word or a read; one cycle from address to data.
module tepal_single_port_ram #(
    parameter WIDTH = 16,
    parameter DEPTH = 1,
    parameter GRANULARITY = 16,
    parameter ADDRESS_BITS = 1
) (
    input  wire                         clk,
    input  wire [ADDRESS_BITS-1:0]      address,
    input  wire [WIDTH-1:0]             write_data,
    input  wire [WIDTH/GRANULARITY-1:0] write_enable,
    output reg  [WIDTH-1:0]             read_data
);
    reg [WIDTH-1:0] words [0:DEPTH-1];
    integer part;
`ifndef SYNTHESIS
    // As above.
    integer word;
    initial for (word = 0; word < DEPTH; word = word + 1) words[word] = {WIDTH{1'b1}};
`endif
    always @(posedge clk) begin
        for (part = 0; part < WIDTH / GRANULARITY; part = part + 1)
            if (write_enable[part])
                words[address][part*GRANULARITY +: GRANULARITY] <= write_data[part*GRANULARITY +: GRANULARITY];
        if (write_enable == 0) read_data <= words[address];
    end
endmodule
