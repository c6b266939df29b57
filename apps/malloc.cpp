// How the command's memory is had from the system.  Numbers that a model computes with are spread
// over far more 4 KiB pages than a CPU has translations for; from 2 MiB pages decoding behind 512
// tokens is 1.5 times as fast and a prompt of 512 tokens 1.6 times (measured on a virtual machine).
// Linux gives those only to who asks, and glibc's malloc asks only if its environment says so.
// Pieces above 8 MiB, as a prompt's activations are, would go back to the system at once and come
// as pages to be cleared for each layer: a tenth of a prompt's time.
#if defined(MLXCPP_JEMALLOC)
extern "C" {
/// jemalloc reads it at the start; its malloc is then the program's and MLX's.
const char* malloc_conf = "thp:always,metadata_thp:auto,oversize_threshold:0";
}
#endif
