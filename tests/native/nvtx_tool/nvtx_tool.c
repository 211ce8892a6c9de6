/* An NVTX tool for tests: what a profiler would receive, as JSON lines.
 *
 * NVTX loads the library named by NVTX_INJECTION64_PATH at its first call and
 * calls InitializeInjectionNvtx2, once for every library of the process that has
 * NVTX built in.  Each call of the domain API becomes one line in the file named
 * by NVTX_TOOL_LOG:
 *
 *   {"pid":7,"seq":3,"tid":7,"call":"push","domain":1,"message":"decode",
 *    "message_type":3,"category":2,"payload_type":2,"payload":1099511627777}
 *
 *   seq           order of the calls in the process, without gaps
 *   tid           the caller's thread as the kernel numbers it
 *   domain        number from the "domain" line that made it; 0: the default one
 *   message       text, registered strings resolved; null where there is none
 *   payload       null unless it is an int64
 *   range         what "start" returned, at the "end" too
 *   counter       what "counter" returned, in each "sample" of it
 *   value         of a sample, null where it has none: then "reason" says why
 *
 * A "counter" line has the counter's name, and its unit and limits (null where it has
 * none).  Samples of 64-bit integers are recorded, and samples without value; a tool
 * that gets any other ends the process.
 *
 * A line is one write() to a file opened for appending, so it survives a crash
 * of the program, and the lines of several processes never mix.  Bytes that are
 * not ASCII are copied as they came.  What cannot be recorded ends the process:
 * a log with holes would let tests pass. */
#define NVTX_NO_IMPL
#include <nvtx3/nvToolsExt.h>
#include <nvtx3/nvToolsExtCounters.h>
#include <nvtx3/nvToolsExtPayload.h>
#include <nvtx3/nvToolsExtSemanticsCounters.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What our handles point to; they live as long as the process, as NVTX's do. */
struct nvtxDomainRegistration_st {
    unsigned number;
};

struct nvtxStringRegistration_st {
    char *text; /* owned */
};

static struct {
    pthread_mutex_t lock; /* guards everything below */
    int fd; /* -1: no log yet */
    uint64_t seq;
    unsigned domains;
    nvtxRangeId_t ranges;
    uint64_t counters;
    char *line; /* owned; the line that is being made */
    size_t used, size;
} tool = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

static void die(const char *what, int error)
{
    fprintf(stderr, "nvtx_tool: %s: %s\n", what, strerror(error));
    abort();
}

static void lock(void)
{
    int error = pthread_mutex_lock(&tool.lock);
    if (error != 0)
        die("lock", error);
}

static void unlock(void)
{
    int error = pthread_mutex_unlock(&tool.lock);
    if (error != 0)
        die("unlock", error);
}

static void make_room(size_t bytes)
{
    if (tool.size - tool.used >= bytes)
        return;
    size_t size = 2 * tool.size + bytes;
    char *line = realloc(tool.line, size);
    if (line == NULL)
        die("line", ENOMEM);
    tool.line = line;
    tool.size = size;
}

__attribute__((format(printf, 1, 2))) static void put(const char *format, ...)
{
    char text[256];
    va_list values;
    va_start(values, format);
    int length = vsnprintf(text, sizeof text, format, values);
    va_end(values);
    if (length < 0 || (size_t)length >= sizeof text)
        die("field", EOVERFLOW);
    make_room((size_t)length);
    memcpy(tool.line + tool.used, text, (size_t)length);
    tool.used += (size_t)length;
}

static void put_text(const char *key, const char *text)
{
    if (text == NULL) {
        put(",\"%s\":null", key);
        return;
    }
    put(",\"%s\":\"", key);
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\')
            put("\\%c", *p);
        else if (*p < 0x20 || *p == 0x7f)
            put("\\u%04x", *p);
        else
            put("%c", *p);
    }
    put("\"");
}

static unsigned number_of(nvtxDomainHandle_t domain)
{
    return domain == NULL ? 0 : domain->number;
}

/* Takes the lock, which line_end gives back. */
static void line_begin(const char *call, unsigned domain)
{
    lock();
    tool.used = 0;
    put("{\"pid\":%ld,\"seq\":%" PRIu64 ",\"tid\":%ld,\"call\":\"%s\",\"domain\":%u",
        (long)getpid(), tool.seq++, syscall(SYS_gettid), call, domain);
}

static void line_end(void)
{
    put("}\n");
    ssize_t written = write(tool.fd, tool.line, tool.used);
    if (written != (ssize_t)tool.used)
        die("log", written < 0 ? errno : EIO);
    unlock();
}

static void put_attributes(const nvtxEventAttributes_t *attributes)
{
    const char *message = NULL;
    if (attributes == NULL)
        die("event without attributes", EINVAL);
    if (attributes->messageType == NVTX_MESSAGE_TYPE_REGISTERED &&
        attributes->message.registered != NULL)
        message = attributes->message.registered->text;
    else if (attributes->messageType == NVTX_MESSAGE_TYPE_ASCII)
        message = attributes->message.ascii;
    put_text("message", message);
    put(",\"message_type\":%" PRId32 ",\"category\":%" PRIu32 ",\"payload_type\":%" PRId32,
        attributes->messageType, attributes->category, attributes->payloadType);
    if (attributes->payloadType == NVTX_PAYLOAD_TYPE_INT64)
        put(",\"payload\":%" PRId64, attributes->payload.llValue);
    else
        put(",\"payload\":null");
}

/* ---- the calls ---- */

static nvtxDomainHandle_t on_create(const char *name)
{
    nvtxDomainHandle_t domain = malloc(sizeof *domain);
    if (domain == NULL)
        die("domain", ENOMEM);
    lock();
    domain->number = ++tool.domains;
    unlock();
    line_begin("domain", domain->number);
    put_text("name", name);
    line_end();
    return domain;
}

static void on_name_category(nvtxDomainHandle_t domain, uint32_t category, const char *name)
{
    line_begin("category", number_of(domain));
    put(",\"category\":%" PRIu32, category);
    put_text("name", name);
    line_end();
}

static nvtxStringHandle_t on_register_string(nvtxDomainHandle_t domain, const char *text)
{
    nvtxStringHandle_t string = malloc(sizeof *string);
    if (string == NULL || (string->text = strdup(text != NULL ? text : "")) == NULL)
        die("string", ENOMEM);
    line_begin("string", number_of(domain));
    put_text("text", text);
    line_end();
    return string;
}

static void on_mark(nvtxDomainHandle_t domain, const nvtxEventAttributes_t *attributes)
{
    line_begin("mark", number_of(domain));
    put_attributes(attributes);
    line_end();
}

static int on_push(nvtxDomainHandle_t domain, const nvtxEventAttributes_t *attributes)
{
    line_begin("push", number_of(domain));
    put_attributes(attributes);
    line_end();
    return NVTX_NO_PUSH_POP_TRACKING;
}

static int on_pop(nvtxDomainHandle_t domain)
{
    line_begin("pop", number_of(domain));
    line_end();
    return NVTX_NO_PUSH_POP_TRACKING;
}

static nvtxRangeId_t on_start(nvtxDomainHandle_t domain, const nvtxEventAttributes_t *attributes)
{
    line_begin("start", number_of(domain));
    nvtxRangeId_t range = ++tool.ranges;
    put_attributes(attributes);
    put(",\"range\":%" PRIu64, range);
    line_end();
    return range;
}

static void on_end(nvtxDomainHandle_t domain, nvtxRangeId_t range)
{
    line_begin("end", number_of(domain));
    put(",\"range\":%" PRIu64, range);
    line_end();
}

/* ---- counters ---- */

static const nvtxSemanticsCounter_t *counter_semantics(const nvtxSemanticsHeader_t *header)
{
    for (; header != NULL; header = header->next)
        if (header->semanticId == NVTX_SEMANTIC_ID_COUNTERS_V1)
            return (const nvtxSemanticsCounter_t *)header;
    return NULL;
}

static void put_limit(const char *key, const nvtxSemanticsCounter_t *semantics, uint64_t flag,
                      const nvtxCounterLimit_t *limit)
{
    if (semantics != NULL && (semantics->flags & flag) != 0)
        put(",\"%s\":%" PRIu64, key, limit->u64);
    else
        put(",\"%s\":null", key);
}

static uint64_t on_counter_register(nvtxDomainHandle_t domain, const nvtxCounterAttr_t *attributes)
{
    if (attributes == NULL || attributes->schemaId != NVTX_PAYLOAD_ENTRY_TYPE_INT64)
        die("counter of another type", EINVAL);
    const nvtxSemanticsCounter_t *semantics = counter_semantics(attributes->semantics);
    line_begin("counter", number_of(domain));
    uint64_t id = NVTX_COUNTER_ID_DYNAMIC_START + ++tool.counters;
    put(",\"counter\":%" PRIu64, id);
    put_text("name", attributes->name);
    put_text("unit", semantics != NULL ? semantics->unit : NULL);
    put_limit("min", semantics, NVTX_COUNTER_FLAG_LIMIT_MIN, semantics ? &semantics->min : NULL);
    put_limit("max", semantics, NVTX_COUNTER_FLAG_LIMIT_MAX, semantics ? &semantics->max : NULL);
    line_end();
    return id;
}

static void on_counter_sample(nvtxDomainHandle_t domain, uint64_t counter, int64_t value)
{
    line_begin("sample", number_of(domain));
    put(",\"counter\":%" PRIu64 ",\"value\":%" PRId64, counter, value);
    line_end();
}

static void on_counter_no_value(nvtxDomainHandle_t domain, uint64_t counter, uint8_t reason)
{
    line_begin("sample", number_of(domain));
    put(",\"counter\":%" PRIu64 ",\"value\":null,\"reason\":%u", counter, (unsigned)reason);
    line_end();
}

static void on_other_counter(void)
{
    die("samples of this kind are not recorded", ENOSYS);
}

/* ---- attaching ---- */

static const struct {
    NvtxCallbackIdCore2 id;
    NvtxFunctionPointer function;
} callbacks[] = {
    {NVTX_CBID_CORE2_DomainCreateA, (NvtxFunctionPointer)on_create},
    {NVTX_CBID_CORE2_DomainNameCategoryA, (NvtxFunctionPointer)on_name_category},
    {NVTX_CBID_CORE2_DomainRegisterStringA, (NvtxFunctionPointer)on_register_string},
    {NVTX_CBID_CORE2_DomainMarkEx, (NvtxFunctionPointer)on_mark},
    {NVTX_CBID_CORE2_DomainRangePushEx, (NvtxFunctionPointer)on_push},
    {NVTX_CBID_CORE2_DomainRangePop, (NvtxFunctionPointer)on_pop},
    {NVTX_CBID_CORE2_DomainRangeStartEx, (NvtxFunctionPointer)on_start},
    {NVTX_CBID_CORE2_DomainRangeEnd, (NvtxFunctionPointer)on_end},
};

/* The caller holds the lock; whether there is a log to write to. */
static bool log_is_open(void)
{
    if (tool.fd >= 0)
        return true;
    const char *path = getenv("NVTX_TOOL_LOG");
    if (path == NULL || path[0] == '\0') {
        fprintf(stderr, "nvtx_tool: NVTX_TOOL_LOG names no file\n");
        return false;
    }
    int error = pthread_atfork(lock, unlock, unlock);
    if (error != 0) {
        fprintf(stderr, "nvtx_tool: fork handlers: %s\n", strerror(error));
        return false;
    }
    tool.fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (tool.fd < 0)
        fprintf(stderr, "nvtx_tool: %s: %s\n", path, strerror(errno));
    return tool.fd >= 0;
}

__attribute__((visibility("default"))) int
InitializeInjectionNvtx2(NvtxGetExportTableFunc_t export_table)
{
    lock();
    bool open = log_is_open();
    unlock();
    if (!open)
        return 0;
    const NvtxExportTableCallbacks *exported = export_table(NVTX_ETID_CALLBACKS);
    if (exported == NULL || exported->struct_size < sizeof *exported)
        return 0;
    NvtxFunctionTable table = NULL;
    unsigned size = 0;
    if (!exported->GetModuleFunctionTable(NVTX_CB_MODULE_CORE2, &table, &size) || table == NULL)
        return 0;
    for (size_t i = 0; i < sizeof callbacks / sizeof callbacks[0]; i++) {
        if ((unsigned)callbacks[i].id >= size)
            return 0;
        *table[callbacks[i].id] = callbacks[i].function;
    }
    line_begin("attach", 0);
    line_end();
    return 1;
}

/* Called for each extension.  Counters are recorded; of another one nothing is taken,
 * but refusing it would make NVTX say of every domain that it is switched off. */
__attribute__((visibility("default"))) int
InitializeInjectionNvtxExtension(nvtxExtModuleInfo_t *module)
{
    static const struct {
        size_t id;
        intptr_t function;
    } functions[] = {
        {NVTX3EXT_CBID_nvtxCounterRegister, (intptr_t)on_counter_register},
        {NVTX3EXT_CBID_nvtxCounterSampleInt64, (intptr_t)on_counter_sample},
        {NVTX3EXT_CBID_nvtxCounterSampleFloat64, (intptr_t)on_other_counter},
        {NVTX3EXT_CBID_nvtxCounterSample, (intptr_t)on_other_counter},
        {NVTX3EXT_CBID_nvtxCounterSampleNoValue, (intptr_t)on_counter_no_value},
        {NVTX3EXT_CBID_nvtxCounterBatchSubmit, (intptr_t)on_other_counter},
    };
    if (module->moduleId != NVTX_EXT_COUNTERS_MODULEID)
        return 1;
    if (module->segmentsCount != 1)
        return 0;
    lock();
    bool open = log_is_open();
    unlock();
    for (size_t i = 0; open && i < sizeof functions / sizeof functions[0]; i++) {
        if (functions[i].id >= module->segments->slotCount)
            return 0;
        module->segments->functionSlots[functions[i].id] = functions[i].function;
    }
    return open;
}
