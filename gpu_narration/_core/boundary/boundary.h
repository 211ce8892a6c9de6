/* Between Python and the plain C core: the only files that include Python.h.
 *
 *   module.c     the table of what Python can call
 *   lifecycle.c  recordings and threads: how they begin and end; fork
 *   counts.c     what a recording has counted
 *   contain.c    exceptions inside the recorder: ours, and the program's
 *   sites.c      strings and call sites: interning, definitions
 *   filtering.c  what the filter says of a call site, and its sampling
 *   strand.c     which span and which correlation are current, for the thread,
 *                the task and the generator that runs now
 *   collector.c  whether the garbage collector runs
 *   values.c     Python values as record bytes
 *   calls.c      trace_tiny and its sisters
 *   fields.c     named values of an event
 *   records.c    full events, annotations and notes
 *   narrate.c    narrate and its sisters
 *   draft.c      their arguments
 *   origin.c     where in the program they are called
 *   errors.c     which exceptions can show themselves without foreign code
 *   scope.c      the beginning and the end of every span; the type Span
 *   function.c   TracedFunction: trace_fn round a function
 *   driven.c     its coroutines, generators and async generators
 *   foreign.c, foreign_end.c  calls of foreign functions: how they begin and end; foreign.h
 *   foreign_type.c    Foreign: what is told of such a function
 *   foreign_reads.c   numbers in structures among the arguments
 *   foreign_ctypes.c  ctypes functions, which change their class
 *   foreign_cffi.c    functions of cffi, which stay what they are
 *   foreign_proxy.c   ForeignFunction, round any other callable
 *   redact.c     texts and fields without their secrets
 *   nvtx.c       ranges and marks for an attached tool
 *
 * All of it runs under the GIL but for the ends of threads (lifecycle.c).  Nothing
 * between event_begin and event_commit may run Python code: a nested event
 * would write over the open record. */
#ifndef GN_BOUNDARY_H
#define GN_BOUNDARY_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "../recording.h"
#include "../redact.h"
#include "../values.h"

#include <stdbool.h>

#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

enum { NAME_ACTOR = 0, NAME_ACTION = 1, NAME_TARGET = 2, NAME_HUMAN = 3, NAME_COUNT = 4 };

enum parameter_rule { PARAMETER_PLAIN = 0, PARAMETER_MASKED = 1, PARAMETER_CHECKED = 2 };
#define PARAMETER_KEYWORD_ONLY 4 /* a bit beside the rule, kept for the reader */

struct parameter {
    PyObject *name; /* owned, interned */
    enum parameter_rule rule;
    bool keyword_only; /* no positional argument reaches it; they all come last */
};

/* A place in the program that makes events.  Never freed: bounded by sites.c. */
struct site {
    uint32_t id;
    bool off; /* the filter keeps it out */
    uint8_t dynamic; /* bit i: name i comes with each record */
    uint32_t defined; /* generation in which its definition was written */
    uint32_t judged; /* filter generation in which `off` was found; 0: while it is thinned */
    uint32_t thinned; /* filter generation in which `every` was found, or 0 */
    uint32_t every; /* while it is thinned: one event in so many is recorded */
    uint32_t turn; /* events to leave out before the next one that is recorded */
    uint32_t counted; /* generation in which `sampled_out` counts */
    uint64_t sampled_out; /* left out by the filter's sampling, and not told in the trace yet */
    struct site *next_thinned; /* in a list of those that ever were */
    enum gn_kind kind;
    int level;
    PyObject *module; /* owned; "" where there is none */
    PyObject *names[NAME_COUNT]; /* owned; NULL where dynamic or unused */
    PyObject *defaults; /* owned tuple of the parameters' defaults, or NULL */
    struct parameter *parameters; /* owned array, or NULL */
    Py_ssize_t parameter_count, positional_count;
    PyObject *nvtx; /* owned event attributes, or NULL until a tool needs them */
};

/* One open span.  Lives in the C frame of a call, in a Span, in a coroutine. */
struct scope {
    int64_t id; /* event id of the first record; 0: not recorded */
    int64_t parent; /* current span before */
    uint64_t start_tick;
    struct site *site;
    struct site *outer_site; /* of the parent, where it is known */
    PyObject *hook_token; /* owned; what the GPU/VRAM hook wants back */
    PyObject *range; /* owned; an NVTX start/end range */
    uint64_t thread_key; /* of the thread that opened it */
    int64_t variable_before; /* published: what the context variable held */
    uint32_t generation;
    bool published; /* the context variable names this span */
    bool pushed; /* an NVTX push of thread_key's thread awaits its pop */
};

struct thread_state {
    struct gn_writer writer;
    /* The strand as it stood when last looked at (strand.c). */
    uint64_t context_version;
    uint64_t python_thread;
    int64_t span; /* current now; writer.span is what the reader thinks */
    uint32_t correlation;
    bool publishing; /* an event loop runs here: spans go to the context */
    struct site *span_site; /* of the current span, or NULL */
    int64_t variable; /* what the context variable held when last looked at */
    int64_t floor; /* current span of the thread below any context */
    struct {
        int64_t id, parent;
    } closed[8]; /* spans that ended while another was current on top of them */
    unsigned closed_count;
    uint64_t key; /* of the OS thread, see thread_key() */
    bool busy; /* its thread is away in the middle of an event; see event_leave */
    atomic_uint owed_pops; /* NVTX ranges of this thread that another one closed */
    struct thread_state *next, *previous; /* in core.threads */
};

struct thread_slot {
    struct thread_state *state; /* valid while generation == core.generation */
    uint32_t generation;
    uintptr_t stack_bottom; /* lowest address of the thread's stack; 0: not known */
    uintptr_t stack_reserve; /* bytes from there that traced calls leave to what they call */
};

struct fields;
struct event;

struct hooks { /* all owned, NULL when not set */
    PyObject *autostart; /* () -> None, once, at the first event of a process */
    PyObject *threshold; /* (module, actor, action) -> int, see filtering.c */
    PyObject *summarise; /* (type) -> str | callable | None */
    PyObject *scope_enter; /* (event id, flags, stream, parent, actor, action) -> token */
    /* (token, event id, failure) -> None; also without a token where an exception may
     * tell of memory that ran out, or a name of a call that gave no object. */
    PyObject *scope_exit;
    PyObject *parameter_rule; /* (name) -> int: enum parameter_rule */
    PyObject *internal_error; /* (where: str, error) -> None */
    PyObject *owner; /* (error) -> int: enum owner in contain.c */
    PyObject *ids; /* the type contexts.Ids, whose instances tell more of a correlation */
    PyObject *emitter; /* (module) -> str: "package@version" */
};

struct core {
    uint32_t generation; /* of the recording that runs now, 0: none */
    uint32_t last_generation;
    uint32_t filter_generation;
    bool autostart; /* the first event should ask the autostart hook */
    bool nvtx_on;
    bool tells; /* events are told of: to a tool, or how many a filter's sampling left out */
    struct gn_recording *recording; /* owned while generation != 0 */
    bool settled; /* the recording is whole: made, and not yet taken apart */
    struct thread_state *threads; /* guarded by threads_lock */
    pthread_mutex_t threads_lock;
    pthread_key_t thread_end;
    struct hooks hooks;
    PyObject *span_variable; /* ContextVar of the current span's event id */
    PyObject *correlation_variable; /* ContextVar of the correlation id */
    uint64_t next_thread_key;
    uint64_t suppressed; /* events that could not be recorded: no memory, too late */
    unsigned away; /* threads that wait in the recording without the GIL */
    uint64_t sampled_out; /* events that the filter's sampling left out */
    uint64_t waits; /* times a thread waited for the drain */
    uint64_t foreign_streams; /* calls of FOREIGN_STREAMS functions while something recorded */
};

extern struct core core;

#if defined(__GLIBC__)
#define THREAD_MODEL __attribute__((tls_model("initial-exec"))) /* one load, no call */
#else
#define THREAD_MODEL
#endif
extern __thread struct thread_slot thread_slot THREAD_MODEL;

/* True where the next traced call might run over the end of the stack.  A stack that
 * is not the thread's own (a coroutine library's) is never judged. */
static inline bool stack_is_low(void)
{
    return (uintptr_t)__builtin_frame_address(0) - thread_slot.stack_bottom <
           thread_slot.stack_reserve;
}

/* lifecycle.c */
struct thread_state *thread_attach(void);
uint64_t thread_key(void);
PyObject *recording_start(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *recording_stop(PyObject *module, PyObject *args);
PyObject *recording_flush(PyObject *module, PyObject *args);
PyObject *recording_scopes(PyObject *module, PyObject *unused);
PyObject *recording_after_fork(PyObject *module, PyObject *unused);
int lifecycle_init(void);

/* counts.c */
PyObject *recording_stats(PyObject *module, PyObject *unused);
/* Notes the end of the recording: the final counts, which come back, and `more`, a
 * dict or NULL.  NULL with an exception set if that failed, or without one if the
 * recording ended meanwhile. */
PyObject *note_end(PyObject *more);

/* contain.c; both take the exception that is set, if one is.  True if it was not a
 * failure of ours but a want or an interrupt: asked again, the same may succeed. */
bool internal_error(const char *where);
void contain(void); /* where a failure of ours is no news */

/* errors.c */
bool error_shows_plain(PyObject *error); /* given that its arguments are plain */

/* sites.c */
/* A call site by the addresses of its namespace and names; all of them are kept
 * alive by sites.c, so an address means the same object as when it was noted. */
#define SITE_SLOTS 4096u /* power of two */
struct slot {
    PyObject *globals; /* owned by sites.c */
    PyObject *names[NAME_COUNT]; /* owned by sites.c; NULL where dynamic or unused */
    struct site *site; /* NULL: free slot */
    uint64_t kind; /* of the site: one cache line tells whether the slot is the one */
    uint64_t unused;
};
_Static_assert(sizeof(struct slot) == 64, "a slot is a cache line");
extern struct slot site_slots[SITE_SLOTS];
struct site *site_find(enum gn_kind kind, PyObject *const names[NAME_COUNT], PyObject *globals);
struct site *site_create(enum gn_kind kind, int level, PyObject *module,
                         PyObject *const names[NAME_COUNT], uint8_t dynamic);
struct site *site_named(enum gn_kind kind, int level, PyObject *module,
                        PyObject *const names[NAME_COUNT]);
void site_define(struct site *site);
uint32_t string_id(PyObject *text); /* interned and defined; 0 if that failed */
uint32_t string_constant_id(PyObject *text); /* the same; 0 also if it may be new each time */
bool string_known(PyObject *text); /* it has an id: the table keeps it, so its address names it */
int sites_init(void);

/* filtering.c */
bool site_ready_slow(struct site *site);
bool site_wanted_slow(struct site *site);
void site_tell(struct site *site, int64_t id); /* annotates the event with what was left out */
void sites_tell_rest(void); /* notes what no event has told; contains its failures */
int filtering_init(void);

/* strand.c */
void strand_sync(struct thread_state *thread, PyThreadState *python);
bool strand_write_state(struct thread_state *thread);
void strand_push(struct thread_state *thread, struct scope *scope);
void strand_pop(struct thread_state *thread, const struct scope *scope);
void strand_drop(struct thread_state *thread, const struct scope *scope);
/* For bodies that run in steps: the strand as a step finds it, taken over by the
 * body's span, and given back. */
struct strand_mark {
    int64_t span;
    int64_t variable;
    struct site *site;
};
void strand_save(const struct thread_state *thread, struct strand_mark *mark);
void strand_restore(struct thread_state *thread, const struct strand_mark *mark, bool published);
PyObject *strand_set_correlation(PyObject *module, PyObject *value);
PyObject *strand_current_span(PyObject *module, PyObject *unused);
PyObject *strand_publish_span(PyObject *module, PyObject *id);
int strand_init(PyObject *module);

/* collector.c */
#if PY_VERSION_HEX >= 0x030c0000
enum { collector_runs = false };
static inline void collector_watch(void) {}
static inline void collector_leave(void) {}
#else
extern bool collector_runs; /* known while it is watched */
void collector_watch(void);
void collector_leave(void);
#endif

/* values.c */
struct values {
    PyObject *const *items;
    Py_ssize_t count;
    uint64_t objects; /* bit i: items[i] is a summary of an object */
};
uint8_t *put_value_slow(uint8_t *p, const uint8_t *end, PyObject *value, bool object);
uint8_t *put_string(uint8_t *p, const uint8_t *end, PyObject *text, size_t keep);
uint8_t *put_named(uint8_t *p, const uint8_t *end, enum gn_tag tag, PyObject *text); /* ≤ 240 bytes */
uint8_t *put_cut(uint8_t *p, Py_ssize_t left);
PyObject *summarise(PyObject *value, bool *object); /* new reference, never NULL */
/* The address in a pointer's object as an int, which costs less than its summary; NULL for
 * anything else, with no exception set. */
PyObject *address_number(PyObject *value);
extern PyTypeObject *address_type; /* an int that is shown as a pointer */

/* scope.c */
/* FOREIGN_HANDLE: a ctypes function whose NULL means that it could not make something.
 * FOREIGN_STREAMS: one whose library puts GPU work on streams of its own. */
enum scope_flags { SCOPE_GPU = 1, SCOPE_VRAM = 2, FOREIGN_HANDLE = 4, FOREIGN_STREAMS = 8 };
struct ending {
    enum gn_outcome outcome;
    bool masked; /* the result is not to be shown */
    PyObject *result; /* borrowed, or NULL: none to record */
    PyObject *error; /* borrowed exception, or NULL */
    PyObject *failure; /* borrowed, or NULL: what failed without an exception, by name */
    const struct ending_more *more; /* or NULL */
};
/* What the end of a foreign call may have beside its result; all borrowed, or NULL. */
struct ending_more {
    bool address; /* an int as the result is an address */
    PyObject *name, *meaning; /* of a failure without an exception, in place of the result */
    const struct fields *fields;
};
void scope_opened(struct scope *scope, struct thread_state *thread, struct site *site, int64_t id,
                  uint64_t tick, bool pushable);
/* `names`: of the span, as struct site's. */
void scope_hook_enter(struct scope *scope, unsigned flags, PyObject *stream,
                      PyObject *const *names);
/* Each of these ends the scope exactly once; on a scope that is not open it does
 * nothing.  All but the last need that no exception is set. */
void scope_close(struct scope *scope, const struct ending *ending);
void scope_close_at(struct scope *scope, const struct ending *ending, uint64_t end_tick);
void scope_close_value(struct scope *scope, PyObject *result); /* by a result, and no more */
void scope_close_error(struct scope *scope, PyObject *error);
void scope_close_raised(struct scope *scope); /* by the exception that is set, and stays so */
PyObject *span_new(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
int scope_init(PyObject *module);

/* function.c, driven.c */
struct traced_function {
    PyObject ob_base;
    vectorcallfunc vectorcall;
    PyObject *wrapped; /* owned: the program's function */
    PyObject *dict; /* owned: what functools.update_wrapper put there */
    PyObject *weak_references;
    struct site *site;
    unsigned flags; /* enum scope_flags */
    int skip; /* leading arguments not to record: self, cls */
    int form; /* enum function_form */
    bool mask_result;
};
enum function_form { FORM_PLAIN = 0, FORM_COROUTINE, FORM_GENERATOR, FORM_ASYNC_GENERATOR };
/* Opens a span of the function with the values from `arguments`, which
 * arguments_record has made. */
struct arguments {
    uint16_t size;
    uint8_t bytes[GN_RECORD_MAX - 32];
};
void arguments_record(struct arguments *arguments, struct traced_function *function,
                      PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
void function_open(struct scope *scope, struct traced_function *function,
                   const struct arguments *arguments, bool pushable);
int function_init(PyObject *module);
/* Wraps what calling a coroutine or generator function gave.  Steals `inner`. */
PyObject *driven_wrap(struct traced_function *function, PyObject *inner, PyObject *const *args,
                      Py_ssize_t nargs, PyObject *kwnames);
int driven_init(void);

/* What names of arguments say; learn_keywords goes before any record is open. */
Py_ssize_t parameter_index(const struct site *site, PyObject *name);
void learn_keywords(const struct site *site, PyObject *kwnames);
enum parameter_rule keyword_rule(const struct site *site, PyObject *name, Py_ssize_t index);
bool is_credential(PyObject *value); /* redact.c */

/* foreign.c, foreign_type.c; what they share with the rest of the foreign_*.c: foreign.h */
PyObject *foreign_streams(PyObject *module, PyObject *unused);
int foreign_init(PyObject *module);

/* foreign_reads.c */
PyObject *foreign_reads(PyObject *module, PyObject *args);

/* foreign_ctypes.c */
PyObject *foreign_adopt(PyObject *module, PyObject *args);
PyObject *foreign_forget(PyObject *module, PyObject *type);

/* foreign_cffi.c */
PyObject *foreign_take(PyObject *module, PyObject *args);
PyObject *foreign_release(PyObject *module, PyObject *function);

/* foreign_proxy.c */
int foreign_proxy_init(PyObject *module);

/* fields.c */
enum field_form { FIELD_AS_IT_IS = 0, FIELD_OBJECT, FIELD_MASKED }; /* OBJECT: a summary of one */
struct field {
    PyObject *key, *value; /* owned */
    enum field_form form;
};
#define FIELDS_NEAR 24
struct fields {
    Py_ssize_t count, room;
    Py_ssize_t left_out; /* more than an event can have */
    struct field *items; /* owned unless it is near_items */
    struct field near_items[FIELDS_NEAR];
};
void fields_begin(struct fields *fields);
/* Collect; no Python code runs.  False: an exception is set. */
bool fields_add(struct fields *fields, PyObject *key, PyObject *value);
bool fields_add_dict(struct fields *fields, PyObject *dict); /* dict, None or NULL */
void fields_summarise(struct fields *fields); /* afterwards all of them are plain */
/* All three steps before writing.  False: an exception is set, and there are none. */
bool fields_make(struct fields *fields, PyObject *dict);
void fields_release(struct fields *fields);

/* records.c */
#define RECORD_TEXT_MAX 6000u /* bytes of a name that comes with each full event */
/* Where in the program a narration comes from. */
struct origin {
    PyObject *module; /* owned, interned */
    PyObject *emitter; /* owned, interned: "package@version" */
    PyObject *location; /* owned: "file.py:12"; interned if constant */
    bool location_is_constant;
};
/* Whose event it is: the span it happened in, and the correlation. */
struct strand {
    int64_t span;
    uint32_t correlation;
};
/* Writes a full event of a site that is ready; its id, or None if it is lost.  `fields`
 * are plain; `origin` may be NULL; `strand` is of another thread, as scopes() gave it, or
 * NULL for the caller's own.  `room` is what the record may take. */
PyObject *record_write(struct site *site, PyObject *const *names, const struct origin *origin,
                       const struct fields *fields, const struct strand *strand, size_t room);
uint8_t *put_key(uint8_t *p, const uint8_t *end, PyObject *key); /* fields.c */
PyObject *record_emit(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *record_annotate(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *record_note(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
bool annotate_count(int64_t id, PyObject *key, uint64_t count); /* whether it was recorded */
bool note_fields(const char *topic, PyObject *fields); /* false: an exception is set */
/* The items of a dict as named values, as many as fit; NULL if it is none, or the
 * recording ended meanwhile. */
uint8_t *put_dict(uint8_t *p, const uint8_t *end, PyObject *dict);

/* redact.c; never while a record is open: patterns of the program's are Python code.
 * Each gives a new reference, to the same object if it holds no secret, and never NULL
 * (no exception is set): what could not be checked is not let out. */
/* `policy`: of enum gn_redact.  A str or bytes; anything else comes back as it is. */
PyObject *redact_value(PyObject *value, unsigned policy);
/* By the policy that is set.  `name`: of the field, an exact str; NULL: no field. */
PyObject *redact_field(PyObject *name, PyObject *value);
PyObject *redact(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *redact_one_field(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *redact_configure(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *parameter_rule(PyObject *module, PyObject *name);
PyObject *redactions(PyObject *module, PyObject *unused);
int redact_init(void);

/* origin.c */
struct place; /* a call that was looked up */
void origin_release(struct origin *origin);
/* Steals its arguments.  False: nothing could be made, and no exception is set. */
bool origin_make(struct origin *origin, PyObject *module, PyObject *location);
/* The origin of the call `stacklevel` frames up, or without a module if there is no memory.
 * The place may be NULL, and may come to be another's whenever Python code runs. */
struct place *place_here(long stacklevel, struct origin *origin);
/* Whether the filter is known to keep it out; and making that known. */
bool place_keeps_out(const struct place *place, PyObject *const *names, long level);
void place_keep_out(struct place *place, const struct origin *origin, const struct site *site);
int origin_init(void);

/* draft.c */
enum word {
    WORD_ACTOR = 0, WORD_ACTION, WORD_TARGET, WORD_HUMAN,
    WORD_LEVEL, WORD_STACKLEVEL, WORD_EXTRA, WORD_CUTE, WORD_STORY,
    WORD_COUNT,
};
enum { LEVEL_ANY = -1 }; /* the call says it */
/* A call of narrate() as it was made. */
struct draft {
    const char *function;
    int fixed_level; /* LEVEL_ANY, or what the function stands for */
    PyObject *given[WORD_CUTE]; /* borrowed from the arguments while they are taken */
    PyObject *names[NAME_COUNT]; /* owned */
    struct fields fields;
    long level, stacklevel;
};
extern PyObject *narrate_words[WORD_COUNT]; /* interned */
void draft_begin(struct draft *draft, const char *function, int fixed_level);
/* False: an exception is set. */
bool draft_take(struct draft *draft, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
void draft_release(struct draft *draft);
int draft_init(void);

/* narrate.c */
extern PyMethodDef narrate_methods[];
int narrate_init(void);

/* nvtx.c */
void nvtx_mark(struct thread_state *here, struct site *site, int64_t id);
/* `pushable`: this thread will close the scope, and inside what is open now. */
void nvtx_open(struct scope *scope, struct thread_state *here, bool pushable);
/* A pushed scope only on the thread that opened it.  `here`: NULL when nothing
 * records. */
void nvtx_close(struct scope *scope, struct thread_state *here);
void nvtx_settle(struct thread_state *here);
int nvtx_configure(PyObject *bridge);

/* calls.c */
extern PyMethodDef call_methods[];
int calls_init(void);

/* ---- finding a site ---- */

static inline uint64_t site_mix(uint64_t hash, const void *pointer)
{
    return (hash ^ ((uint64_t)(uintptr_t)pointer >> 4)) * 0x9e3779b97f4a7c15ull;
}

static inline uint32_t site_fold(uint64_t hash)
{
    return (uint32_t)(hash >> 32);
}

/* By value, so that names which lie in registers stay there. */
struct site_names {
    PyObject *actor, *action, *target, *human; /* borrowed; as struct site's names */
};

static inline struct site_names names_of(PyObject *const names[NAME_COUNT])
{
    return (struct site_names){names[0], names[1], names[2], names[3]};
}

static inline struct slot *site_slot(enum gn_kind kind, struct site_names names,
                                     PyObject *globals)
{
    uint64_t hash = (uint64_t)(uintptr_t)globals + ((uint64_t)(uintptr_t)names.action << 7) +
                    ((uint64_t)(uintptr_t)names.target << 13) + (uint64_t)kind;
    return &site_slots[site_fold(site_mix(hash, names.human)) & (SITE_SLOTS - 1)];
}

static inline uint64_t differ(const void *one, const void *other)
{
    return (uint64_t)(uintptr_t)one ^ (uint64_t)(uintptr_t)other;
}

/* NULL where the slot is another site's or free: a free one has no actor. */
static inline struct site *site_cached(enum gn_kind kind, struct site_names names,
                                       PyObject *globals)
{
    const struct slot *slot = site_slot(kind, names, globals);
    uint64_t different = differ(slot->globals, globals) | differ(slot->names[0], names.actor) |
                         differ(slot->names[1], names.action) |
                         differ(slot->names[2], names.target) |
                         differ(slot->names[3], names.human) | (slot->kind ^ (uint64_t)kind);
    return LIKELY(different == 0) ? slot->site : NULL;
}

/* ---- the open record ---- */

struct event {
    struct thread_state *thread;
    uint8_t *p; /* where the next value goes */
    const uint8_t *end; /* room for values; a GN_CUT still fits behind it */
    uint64_t tick;
};

/* The parts of event_prepare that may let other threads run: the recording can
 * end meanwhile and take the thread's state with it. */
bool thread_sync(struct thread_state *thread, PyThreadState *python);
bool thread_make_room(struct thread_state *thread, size_t bytes);

static inline struct thread_state *recording_thread(void)
{
    if (LIKELY(thread_slot.generation == core.generation))
        return thread_slot.state;
    return thread_attach();
}

/* True if the call must go on: a recording runs, or is to be started now. */
bool autostart_now(void);

static inline bool is_idle(void)
{
    return core.generation == 0 && !core.autostart;
}

static inline bool is_recording(void)
{
    return LIKELY(core.generation != 0) || (UNLIKELY(core.autostart) && autostart_now());
}

/* Whether the filter lets events of the site through, and its definition is written. */
static inline bool site_ready(struct site *site)
{
    if (LIKELY(site->defined == core.generation && site->judged == core.filter_generation))
        return !site->off;
    return site_ready_slow(site);
}

/* The same, asked exactly once for each event: of a site that is thinned most are not
 * wanted.  Such a site is never found judged, so the others pay nothing for it. */
static inline bool site_wanted(struct site *site)
{
    if (LIKELY(site->defined == core.generation && site->judged == core.filter_generation))
        return !site->off;
    return site_wanted_slow(site);
}

/* Brings the thread to where it may write a record of up to `bytes`; false if
 * the event is lost (and counted).  `tick` is when it happened: read by the caller
 * before all this, since the counter takes its time and need not be waited for. */
static inline bool event_prepare(struct event *event, uint64_t tick, size_t bytes)
{
    struct thread_state *thread = recording_thread();
    if (UNLIKELY(thread == NULL))
        return false;
    event->thread = thread;
    event->tick = tick;
    PyThreadState *python = PyThreadState_Get();
    if (UNLIKELY(python->context_ver != thread->context_version ||
                 python->id != thread->python_thread) &&
        !thread_sync(thread, python))
        return false;
    if (UNLIKELY(!gn_writer_has_room(&thread->writer, bytes + 64)))
        return thread_make_room(thread, bytes + 64);
    return true;
}

static inline void event_write_head(struct event *event, uint32_t site_id, size_t bytes)
{
    struct gn_writer *writer = &event->thread->writer;
    event->end = writer->pos + bytes - 3;
    event->p = gn_record_begin(writer, site_id, event->tick);
}

static inline bool event_begin(struct event *event, uint32_t site_id)
{
    if (UNLIKELY(!event_prepare(event, gn_clock_ticks(), GN_RECORD_MAX)))
        return false;
    struct thread_state *thread = event->thread;
    if (UNLIKELY(thread->span != (int64_t)thread->writer.span ||
                 thread->correlation != thread->writer.correlation) &&
        !strand_write_state(thread))
        return false;
    event_write_head(event, site_id, GN_RECORD_MAX);
    return true;
}

/* Publishes the record; returns its event id. */
static inline int64_t event_commit(struct event *event)
{
    struct gn_writer *writer = &event->thread->writer;
    int64_t id = gn_event_id(writer->thread, writer->seq);
    gn_record_commit(writer, event->p, event->tick);
    return id;
}

bool fields_put(struct event *event, const struct fields *fields); /* fields.c; false: cut */
/* After the event was written, where somebody is told of it. */
static inline void event_tell(struct thread_state *thread, struct site *site, int64_t id)
{
    if (core.nvtx_on)
        nvtx_mark(thread, site, id);
    if (site->sampled_out != 0)
        site_tell(site, id);
}

/* Appends what fits; false if it did not and the record is closed by GN_CUT. */
static inline bool event_advance(struct event *event, uint8_t *p, Py_ssize_t left)
{
    if (LIKELY(p != NULL)) {
        event->p = p;
        return true;
    }
    event->p = put_cut(event->p, left);
    return false;
}

static inline bool int_fits(PyObject *value, int64_t *result)
{
#if PY_VERSION_HEX >= 0x030c0000
    if (LIKELY(PyUnstable_Long_IsCompact((PyLongObject *)value))) {
        *result = PyUnstable_Long_CompactValue((PyLongObject *)value);
        return true;
    }
#else
    Py_ssize_t size = Py_SIZE(value);
    if (LIKELY(size >= -1 && size <= 1)) {
        *result = size == 0 ? 0 : (int64_t)size * (int64_t)((PyLongObject *)value)->ob_digit[0];
        return true;
    }
#endif
    int overflow;
    *result = PyLong_AsLongLongAndOverflow(value, &overflow);
    return overflow == 0;
}

/* A value that can be recorded while a record is open: no Python code runs. */
static inline bool value_is_plain(PyObject *value)
{
    PyTypeObject *type = Py_TYPE(value);
    return type == &PyLong_Type || type == &PyUnicode_Type || type == &PyFloat_Type ||
           type == &PyBool_Type || value == Py_None || type == &PyBytes_Type ||
           type == address_type;
}

static inline uint8_t *put_value(uint8_t *p, const uint8_t *end, PyObject *value, bool object)
{
    int64_t number;
    if (LIKELY(PyLong_CheckExact(value)) && LIKELY(int_fits(value, &number)))
        return gn_put_int(p, end, number);
    if (PyUnicode_CheckExact(value) && !object && PyUnicode_IS_COMPACT_ASCII(value)) {
        size_t length = (size_t)PyUnicode_GET_LENGTH(value);
        return gn_put_utf8(p, end, (const char *)PyUnicode_1BYTE_DATA(value), length, GN_TEXT_MAX);
    }
    return put_value_slow(p, end, value, object);
}

/* A record has room for this many short values, names aside: they need no check
 * of the room. */
#define SHORT_VALUES_MAX 12
#define SHORT_VALUE_BYTES 257
_Static_assert(SHORT_VALUES_MAX * SHORT_VALUE_BYTES + GN_RECORD_HEAD_WIDE + 16 <= GN_RECORD_MAX,
               "short values fit a record");

/* A value of at most SHORT_VALUE_BYTES; NULL for any other.  Runs no Python code. */
static inline uint8_t *put_short_value(uint8_t *p, PyObject *value)
{
    const PyTypeObject *type = Py_TYPE(value);
    int64_t number;
    if (LIKELY(type == &PyLong_Type))
        return LIKELY(int_fits(value, &number)) ? gn_put_int_unchecked(p, number) : NULL;
    if (LIKELY(type == &PyUnicode_Type)) {
        size_t length = (size_t)PyUnicode_GET_LENGTH(value);
        if (UNLIKELY(!PyUnicode_IS_COMPACT_ASCII(value) || length > 255))
            return NULL;
        p[0] = GN_STR8;
        p[1] = (uint8_t)length;
        gn_copy_short(p + 2, PyUnicode_1BYTE_DATA(value), length);
        return p + 2 + length;
    }
    if (type == &PyFloat_Type) {
        double real = PyFloat_AS_DOUBLE(value);
        *p = GN_F64;
        memcpy(p + 1, &real, 8);
        return p + 9;
    }
    if (value == Py_None || type == &PyBool_Type) {
        *p = (uint8_t)(value == Py_None ? GN_NONE : value == Py_True ? GN_TRUE : GN_FALSE);
        return p + 1;
    }
    return NULL;
}

/* The values in order, each of them plain; `behind` more are to follow.  False if they
 * did not all fit: then nothing may follow. */
static inline bool event_put_values(struct event *event, const struct values *values,
                                    Py_ssize_t behind)
{
    for (Py_ssize_t i = 0; i < values->count; i++) {
        bool object = values->objects != 0 && i < 64 && (values->objects >> i & 1);
        uint8_t *p = put_value(event->p, event->end, values->items[i], object);
        if (UNLIKELY(!event_advance(event, p, values->count - i + behind)))
            return false;
    }
    return true;
}

static inline bool values_are_plain(const struct values *values)
{
    for (Py_ssize_t i = 0; i < values->count; i++)
        if (UNLIKELY(!value_is_plain(values->items[i])))
            return false;
    return true;
}

/* Values that can be written while a record is open: `plain` borrows from
 * `values`, or owns summaries, which summaries_release drops. */
struct summaries {
    struct values plain;
    PyObject **owned; /* NULL when nothing had to be summarised */
};
int values_init(PyObject *module);
bool summaries_make(struct summaries *summaries, const struct values *values);
void summaries_release(struct summaries *summaries);

static inline bool values_prepare(struct summaries *summaries, const struct values *values)
{
    summaries->plain = *values;
    summaries->owned = NULL;
    return LIKELY(values_are_plain(values)) || summaries_make(summaries, values);
}

static inline void values_done(struct summaries *summaries)
{
    if (UNLIKELY(summaries->owned != NULL))
        summaries_release(summaries);
}

#endif
