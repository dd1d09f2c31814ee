/* room.h - how much more memory this process may take, by every bound that a Linux system sets it. */
#ifndef RETORT_BASE_ROOM_H
#define RETORT_BASE_ROOM_H
#include <stdint.h>

/* Bytes beyond what the process has now; INT64_MAX: no such bound, or it cannot be read. */
typedef struct rt_room {
    int64_t machine;       /* MemAvailable: free, or what the system gives back at once */
    int64_t group;         /* the tightest control group above the process, version 1 or 2; file pages do not count */
    int64_t address_space; /* RLIMIT_AS, ulimit -v: mappings, used or not */
    int64_t data;          /* RLIMIT_DATA, ulimit -d: private writable memory */
} rt_room;
rt_room rt_room_now(void);
int64_t rt_resident_now(void); /* bytes of this process in memory; 0: it cannot be read */
#endif
