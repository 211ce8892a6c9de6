/* A small library for the tests of ffi: one function per thing that can go wrong. */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct point {
    int32_t x, y;
    double weight;
};

int32_t add(int32_t a, int32_t b) { return a + b; }

double half(double value) { return value / 2; }

const char *greeting(void) { return "hello"; }

void nothing(void) {}

int64_t sum_point(struct point point) { return (int64_t)point.x + point.y; }

struct row {
    int32_t count;
    const int32_t *values;
};

int32_t last_of_row(struct row row)
{
    return row.count > 0 && row.values != NULL ? row.values[row.count - 1] : -1;
}

void move_point(struct point *point, int32_t by)
{
    point->x += by;
    point->y += by;
}

int32_t call_back(int32_t (*callback)(int32_t), int32_t value) { return callback(value); }

int32_t fail_with(int32_t number)
{
    errno = number;
    return -1;
}

/* Says that it has begun, then waits to be told to end; 1 if it was, 0 after ten
 * seconds. */
int32_t wait_for_word(volatile int32_t *begun, volatile int32_t *end)
{
    const struct timespec pause = {0, 1000000};
    *begun = 1;
    for (int i = 0; i < 10000; i++) {
        if (*end)
            return 1;
        nanosleep(&pause, NULL);
    }
    return 0;
}

/* As llama.cpp has them: NULL where the object cannot be made. */
void *llama_model_load_from_file(int32_t exists)
{
    static int32_t model;
    return exists ? &model : NULL;
}

const char *llama_model_name(int32_t exists) { return exists ? "tiny" : NULL; }

/* Looks at nothing behind the pointer. */
int32_t is_there(const void *pointer) { return pointer != NULL; }

/* The caller's to free. */
char *copy_text(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = malloc(size);
    return copy == NULL ? NULL : memcpy(copy, text, size);
}

void free_text(char *text) { free(text); }

struct errand {
    int32_t (*callback)(int32_t);
    int32_t value, result;
};

static void *run_errand(void *argument)
{
    struct errand *errand = argument;
    errand->result = errand->callback(errand->value);
    return NULL;
}

/* The callback runs in a thread that Python has never seen. */
int32_t call_back_on_a_thread(int32_t (*callback)(int32_t), int32_t value)
{
    struct errand errand = {callback, value, -1};
    pthread_t thread;
    if (pthread_create(&thread, NULL, run_errand, &errand) != 0)
        return -1;
    return pthread_join(thread, NULL) == 0 ? errand.result : -1;
}

void crash(void) { *(volatile int *)8 = 1; }
