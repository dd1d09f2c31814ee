/* machine.h - what the operating system says about this machine. Linux; what cannot be read is empty, 0 or -1. */
#ifndef RETORT_CLI_MACHINE_H
#define RETORT_CLI_MACHINE_H
#include <stdbool.h>
#include <stdint.h>

typedef struct rt_machine {
    char cpu[128];                    /* "Intel(R) Xeon(R) Processor" */
    char features[128];               /* those that matter here: "avx2 fma avx512f amx_bf16" */
    int cores_online, cores_usable;   /* of the machine; of this process (affinity) */
    double cores_granted;             /* by the control group's quota; 0: no limit */
    int64_t memory, memory_available; /* bytes */
    int64_t memory_limit;             /* the control group's; 0: none */
    int64_t disk_free;                /* bytes, of the current folder's file system */
    double load;                      /* threads that want to run, over the last minute */
    char system[128];                 /* "Linux 6.1.0" */
} rt_machine;
rt_machine rt_machine_read(void);
#endif
