// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Test only: aead.bpf.c with the rounds of ChaCha20 in C in place of what is generated. */
#define CHACHA20_ROUNDS "../test/bpf/chacha20_twin.h"
#include "aead.bpf.c"
