/* Lets a process see a CPU with AVX2 and without AVX-512, VNNI and AMX. Preloaded by avx2_cpu.py, which says how.
 *
 * A library whose `cpuid` instructions were replaced by `ud2` (both are two bytes) stops here at each of them, and gets
 * the CPU's own answer without the bits of what comes after AVX2. Who reads /proc/cpuinfo gets the file that the
 * variable AVX2_CPUINFO names.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { FEATURES = 7 };

/* Leaf 7, subleaf 0: AVX-512 F DQ IFMA PF ER CD BW VL; VBMI VBMI2 VNNI BITALG VPOPCNTDQ; 4VNNIW 4FMAPS VP2INTERSECT,
 * AMX-BF16 AVX512-FP16 AMX-TILE AMX-INT8. Its other subleaves (AVX-VNNI, AVX512-BF16, AVX-VNNI-INT8) are newer. */
static const unsigned AFTER_AVX2_B = 0xdc230000u, AFTER_AVX2_C = 0x00005842u, AFTER_AVX2_D = 0x03c0010cu;

static void answer(int signal_number, siginfo_t *info, void *context) {
    (void)info;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *at = (const unsigned char *)registers[REG_RIP];
    if (at[0] != 0x0f || at[1] != 0x0b) {
        signal(signal_number, SIG_DFL); /* a true illegal instruction: returning runs into it again */
        return;
    }
    unsigned leaf = (unsigned)registers[REG_RAX], subleaf = (unsigned)registers[REG_RCX], a, b, c, d;
    __cpuid_count(leaf, subleaf, a, b, c, d);
    if (leaf == FEATURES && subleaf == 0) {
        b &= ~AFTER_AVX2_B;
        c &= ~AFTER_AVX2_C;
        d &= ~AFTER_AVX2_D;
    } else if (leaf == FEATURES) {
        a = b = c = d = 0;
    }
    registers[REG_RAX] = a;
    registers[REG_RBX] = b;
    registers[REG_RCX] = c;
    registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void install(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = answer;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGILL, &action, NULL);
}

static const char *told(const char *path) {
    const char *instead = getenv("AVX2_CPUINFO");
    return instead && strcmp(path, "/proc/cpuinfo") == 0 ? instead : path;
}

#define OPEN(name)                                                         \
    int name(const char *path, int flags, ...) {                           \
        static int (*real)(const char *, int, ...);                        \
        va_list rest;                                                      \
        if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name); \
        va_start(rest, flags);                                             \
        mode_t mode = va_arg(rest, mode_t);                                \
        va_end(rest);                                                      \
        return real(told(path), flags, mode);                              \
    }
OPEN(open)
OPEN(open64)
