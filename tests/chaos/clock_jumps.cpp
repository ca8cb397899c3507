// Preloaded into a process, it makes the wall clock jump: a day ahead and a day back, three times a second in turn.
// The monotonic clocks go on as they are.
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const long kDay = 86400;

static long jump() {
    timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    return (now.tv_nsec / 333333334 - 1) * kDay;
}

extern "C" int clock_gettime(clockid_t clock, timespec* result) {
    int code = syscall(SYS_clock_gettime, clock, result);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) result->tv_sec += jump();
    return code;
}

extern "C" int gettimeofday(timeval* result, void* zone) {
    int code = syscall(SYS_gettimeofday, result, zone);
    result->tv_sec += jump();
    return code;
}

extern "C" time_t time(time_t* result) {
    timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}
