/* A process that is killed: what it had committed is there, each event once. */
#include "check.h"
#include "fixture.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define KILLS 50
#define LONGEST_LIFE_US 25000u
#define THREADS 3u /* the first one defines each number before it records it */

/* Shared with the child: how many events of each thread were committed. */
static struct progress {
    _Atomic uint64_t defined, committed[THREADS];
} *progress;

static struct taping taping;

static void *record_for_ever(void *argument)
{
    uintptr_t self = (uintptr_t)argument;
    struct gn_writer writer;
    gn_writer_open(&writer, &taping.recording.ring, UINT32_MAX);
    for (uint64_t i = 0;; i++) {
        if (self == 0) {
            CHECK_EQ(put_stream(&taping.recording, GN_STREAM_DEFINITIONS, i), GN_OK);
            atomic_store(&progress->defined, i + 1);
        }
        CHECK_EQ(put_event(&writer, (uint64_t)self << 32 | i, i % 50 == 0 ? FAT : 0), GN_OK);
        atomic_store(&progress->committed[self], i + 1);
    }
    return NULL;
}

_Noreturn static void child(const struct place *place)
{
    struct gn_recording_options options = {
        .dir_fd = place->fd, .prefix = "t", .chunks = 32, .counter_clock = true};
    const char *file;
    CHECK_EQ(gn_recording_start(&taping.recording, &options, &file), 0);
    for (uintptr_t i = 0; i < THREADS; i++) {
        pthread_t thread;
        CHECK_EQ(pthread_create(&thread, NULL, record_for_ever, (void *)i), 0);
    }
    for (;;)
        (void)pause();
}

/* The trace has the numbers of one writer from 0 on, in order: those that were
 * known to be committed, and at most the one whose commit nobody had seen. */
static void check_thread(const struct trace *trace, uint32_t thread, uint64_t known)
{
    size_t count;
    struct record *records = trace_thread(trace, thread, &count);
    CHECK(count >= known);
    CHECK(count <= known + 1);
    for (uint64_t i = 0; i < count; i++) {
        CHECK_EQ(records[i].seq, i);
        CHECK_EQ((uint32_t)number_of(&records[i]), i);
    }
    free(records);
}

/* Threads get their numbers in the order they came. */
static uint32_t thread_of(const struct trace *trace, uint64_t self)
{
    for (size_t i = 0; i < trace->count; i++)
        if (trace->records[i].thread >= GN_STREAM_FIRST_THREAD &&
            number_of(&trace->records[i]) >> 32 == self)
            return trace->records[i].thread;
    return UINT32_MAX;
}

static void check_trace(const struct place *place)
{
    struct trace trace;
    trace_read(&trace, place->fd, "t");
    (void)trace_add_ring(&trace, place->fd, "t.ring");
    CHECK_EQ(trace.gaps, 0);
    check_thread(&trace, GN_STREAM_DEFINITIONS, atomic_load(&progress->defined));
    size_t definitions, uses;
    free(trace_thread(&trace, GN_STREAM_DEFINITIONS, &definitions));
    for (uint32_t self = 0; self < THREADS; self++) {
        uint32_t thread = thread_of(&trace, self);
        check_thread(&trace, thread, atomic_load(&progress->committed[self]));
        free(trace_thread(&trace, thread, &uses));
        if (self == 0)
            CHECK(uses <= definitions);
    }
    trace_free(&trace);
}

TEST(what_was_committed_survives_a_kill_and_nothing_is_there_twice)
{
    progress = mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                    0);
    CHECK(progress != MAP_FAILED);
    uint32_t state = (uint32_t)getpid();
    for (int i = 0; i < KILLS; i++) {
        /* GIVEN a process that records as fast as it can */
        struct place place;
        place_make(&place);
        memset(progress, 0, sizeof *progress);
        pid_t process = fork();
        CHECK(process >= 0);
        if (process == 0)
            child(&place);
        /* WHEN it is killed at some moment, every second time be it before its
         * first event */
        while (i % 2 == 0 && atomic_load(&progress->committed[0]) == 0)
            sleep_us(200);
        sleep_us(dice(&state) % LONGEST_LIFE_US);
        CHECK_EQ(kill(process, SIGKILL), 0);
        int status;
        CHECK_EQ(waitpid(process, &status, 0), process);
        CHECK(WIFSIGNALED(status));
        /* THEN its segments and its ring hold what it had committed */
        check_trace(&place);
        place_remove(&place);
    }
    CHECK_EQ(munmap(progress, sizeof *progress), 0);
}
