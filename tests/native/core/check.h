/* The smallest harness that will do: a test is a sentence, a failed check prints
 * where and what and ends the program at once, with a status that is not 0. */
#ifndef CHECK_H
#define CHECK_H

struct check_test {
    const char *sentence;
    void (*run)(void);
    struct check_test *next;
};

void check_register(struct check_test *test);

_Noreturn void check_failed(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Defines a test and registers it before main() runs. */
#define TEST(name)                                                                                 \
    static void name(void);                                                                        \
    __attribute__((constructor)) static void name##_register(void)                                 \
    {                                                                                              \
        static struct check_test test = {#name, name, 0};                                          \
        check_register(&test);                                                                     \
    }                                                                                              \
    static void name(void)

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            check_failed(__FILE__, __LINE__, "%s is not so", #condition);                          \
    } while (0)

#define CHECK_EQ(a, b)                                                                             \
    do {                                                                                           \
        const long long check_a = (long long)(a), check_b = (long long)(b);                        \
        if (check_a != check_b)                                                                    \
            check_failed(__FILE__, __LINE__, "%s is %lld, %s is %lld", #a, check_a, #b, check_b);  \
    } while (0)

#endif
