/* What a recording has counted: while it runs, and at its end. */
#include "boundary.h"

struct counts {
    uint64_t records, dropped, forgotten, suppressed, sampled_out, waits, bytes_written, passes;
    uint32_t threads, chunks;
    int write_error;
};

/* Runs no Python code. */
static struct counts count_now(void)
{
    struct gn_ring *ring = &core.recording->ring;
    struct counts counts = {.suppressed = core.suppressed, .sampled_out = core.sampled_out, .waits = core.waits};
    (void)pthread_mutex_lock(&ring->lock);
    counts.records = ring->records_closed;
    for (struct gn_writer *writer = ring->writers; writer != NULL; writer = writer->next)
        if (!gn_is_stream(writer->thread))
            counts.records += writer->seq;
    counts.bytes_written = core.recording->drain.stats.bytes_written;
    counts.passes = core.recording->drain.stats.passes;
    counts.write_error = core.recording->drain.stats.write_error;
    counts.threads = ring->writer_count - 2;
    counts.chunks = ring->chunk_count;
    (void)pthread_mutex_unlock(&ring->lock);
    counts.dropped = atomic_load(&ring->header->dropped);
    counts.forgotten = atomic_load(&ring->header->forgotten);
    return counts;
}

static PyObject *counts_object(const struct counts *counts)
{
    return Py_BuildValue(
        "{s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:I,s:K,s:K,s:i}", "records", (unsigned long long)counts->records,
        "dropped", (unsigned long long)counts->dropped, "forgotten",
        (unsigned long long)counts->forgotten, "suppressed", (unsigned long long)counts->suppressed,
        "sampled_out", (unsigned long long)counts->sampled_out, "waits", (unsigned long long)counts->waits, "bytes_written",
        (unsigned long long)counts->bytes_written, "threads", counts->threads, "ring_bytes",
        (unsigned long long)counts->chunks * GN_CHUNK_SIZE, "drain_passes",
        (unsigned long long)counts->passes, "write_errno", counts->write_error);
}

/* stats() -> dict of numbers, or None when nothing is running */
PyObject *recording_stats(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    if (core.generation == 0)
        Py_RETURN_NONE;
    struct counts counts = count_now();
    return counts_object(&counts);
}

/* The counts hold: a note may run Python code (the collector before CPython 3.12)
 * and take a flight recorder's oldest chunk, and is then written again. */
PyObject *note_end(PyObject *more)
{
    PyObject *fields = NULL;
    struct counts noted, now;
    do {
        noted = count_now();
        Py_XSETREF(fields, counts_object(&noted));
        if (fields == NULL || (more != NULL && PyDict_Update(fields, more) < 0) ||
            !note_fields("end", fields)) {
            Py_XDECREF(fields);
            return NULL;
        }
        if (core.generation == 0) {
            Py_DECREF(fields);
            return NULL;
        }
        now = count_now();
    } while (now.records != noted.records || now.forgotten != noted.forgotten);
    return fields;
}
