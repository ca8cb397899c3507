// Preloaded into a process, it makes the wall clock jump, three times a second: a day ahead, two days back, three days
// ahead, and so on, so that later than ever before comes soon. The monotonic clocks go on as they are.
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const long kDay = 86400;

static long jump() {
    static long start = 0;
    timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    long milliseconds = now.tv_sec * 1000 + now.tv_nsec / 1000000;
    if (!start) start = milliseconds;
    long jumps = (milliseconds - start) / 333;
    return (jumps % 2 ? 1 : -1) * jumps * kDay;
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
