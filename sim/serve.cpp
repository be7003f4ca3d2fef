// A board's design on a pseudo-terminal: what a host writes goes over its rx pin, what its tx pin says goes to the host.
//
// Arguments: descriptor of the pseudo-terminal's master, clock cycles of a bit, plusargs. Ends when stdin does.

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>
#include <fstream>
#include <iterator>
#include <vector>

#include "Vtepal.h"
#include "verilated.h"

namespace {

constexpr int LINE_BITS = 10;    // of a byte: start, eight, stop
constexpr int LOOK_CYCLES = 256; // between looks for bytes from the host
// Without anything to do for so long, the design does nothing more until a byte comes. An answer is silent for the
// longest while its encoder gathers a block: some 3 x 254 cycles.
constexpr int QUIET_CYCLES = 10000;

int port;

// Wait until the port is ready for `events`; false if stdin has ended. `milliseconds` -1: without limit.
bool wait_for(short events, int milliseconds) {
    pollfd files[] = {{port, events, 0}, {STDIN_FILENO, POLLIN, 0}};
    while (poll(files, 2, milliseconds) < 0 && errno == EINTR) {}
    return files[1].revents == 0;
}

// The host's bytes onto the line, each with start and stop bit.
class Sender {
    uint8_t waiting[64];
    int count = 0, next = 0, bits = 0, left = 0;
    unsigned shift = 0;

public:
    bool idle() const { return bits == 0 && next == count; }

    void look() {
        if (next != count) return;
        const ssize_t got = read(port, waiting, sizeof waiting);
        next = 0;
        count = got > 0 ? static_cast<int>(got) : 0;
    }

    // The line's level in the next cycle.
    bool level(int bit_cycles) {
        if (left > 0) {
            left--;
        } else if (bits > 0) {
            bits--;
            shift >>= 1;
            left = bit_cycles - 1;
        }
        if (bits == 0) {
            if (next == count) return true;
            shift = (1U << (LINE_BITS - 1)) | (static_cast<unsigned>(waiting[next++]) << 1);
            bits = LINE_BITS;
            left = bit_cycles - 1;
        }
        return shift & 1;
    }
};

// Bytes from the line to the host.
class Receiver {
    int bits = 0, left = 0;
    unsigned shift = 0;

public:
    bool idle() const { return bits == 0; }

    // One cycle; false if stdin has ended while the host took nothing.
    bool take(bool level, int bit_cycles) {
        if (bits == 0) {
            if (level) return true;
            bits = LINE_BITS;
            left = bit_cycles / 2;
        }
        if (left-- > 0) return true;
        left = bit_cycles - 1;
        shift = (shift >> 1) | (static_cast<unsigned>(level) << (LINE_BITS - 1));
        if (--bits > 0) return true;
        const uint8_t byte = static_cast<uint8_t>(shift >> 1);
        while (write(port, &byte, 1) < 0) {
            if (errno != EAGAIN && errno != EINTR) return true; // lost, as on a line to nobody
            if (!wait_for(POLLOUT, -1)) return false;
        }
        return true;
    }
};

#ifdef TEPAL_FLASH
// An SPI flash memory, in mode 0: once it was woken, it can be read. All that is not in its file is erased.
class Flash {
    std::vector<uint8_t> contents;
    bool awake = false;
    int clk = 0, out = 1;
    unsigned bits = 0, shift = 0;

public:
    Flash() {
        std::ifstream file(TEPAL_FLASH, std::ios::binary);
        contents.assign(std::istreambuf_iterator<char>(file), {});
    }

    // The level of its output after a cycle with these at its inputs.
    int step(int selected, int now, int in) {
        if (!selected) {
            awake |= bits == 8 && (shift & 0xFF) == 0xAB;
            bits = shift = 0;
            out = 1;
        } else if (now && !clk) {
            if (bits < 32) shift = shift << 1 | in;
            bits++;
        } else if (clk && !now && bits >= 32 && shift >> 24 == 0x03 && awake) {
            const size_t place = (shift & 0xFFFFFF) + (bits - 32) / 8;
            out = (place < contents.size() ? contents[place] : 0xFF) >> (7 - bits % 8) & 1;
        }
        clk = now;
        return out;
    }
};
#endif

} // namespace

int main(int argc, char** argv) {
    if (argc < 3) return 2;
    port = std::atoi(argv[1]);
    const int bit_cycles = std::atoi(argv[2]);
    fcntl(port, F_SETFL, fcntl(port, F_GETFL) | O_NONBLOCK);

    VerilatedContext context;
    context.commandArgs(argc, argv);
    Vtepal top(&context);
    auto cycle = [&top] {
        top.clk = 0;
        top.eval();
        top.clk = 1;
        top.eval();
    };
    top.rx = 1;
    top.rst = 1;
    for (int i = 0; i < 4; i++) cycle();
    top.rst = 0;

    Sender sender;
    Receiver receiver;
#ifdef TEPAL_FLASH
    Flash flash;
#endif
    for (int quiet = 0, look = 0;;) {
        top.rx = sender.level(bit_cycles);
#ifdef TEPAL_FLASH
        top.flash_cipo = flash.step(top.flash_cs, top.flash_clk, top.flash_copi);
#endif
        cycle();
        if (!receiver.take(top.tx, bit_cycles)) return 0;
        quiet = sender.idle() && receiver.idle() && (top.ready || top.error) && !top.busy ? quiet + 1 : 0;
        if (quiet > QUIET_CYCLES) {
            if (!wait_for(POLLIN, -1)) return 0;
            quiet = 0;
            sender.look();
        } else if (++look == LOOK_CYCLES) {
            look = 0;
            if (!wait_for(0, 0)) return 0;
            sender.look();
        }
    }
}
