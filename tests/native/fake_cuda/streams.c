/* The driver's calls about streams, captures and events. */
#include "fake_cuda.h"

/* What cuEventElapsedTime counts in. */
#define RESOLUTION_NS 500

/* ---- streams ---- */

API int cuStreamCreate(struct stream **stream, unsigned flags)
{
    struct context *context;
    int status = begin(__func__);
    if (status == SUCCESS)
        status = current(&context);
    if (status == SUCCESS)
        status = permitted();
    if (status == SUCCESS) {
        *stream = make(sizeof **stream);
        (*stream)->context = context;
        (*stream)->generation = context->generation;
        (*stream)->flags = flags;
        (*stream)->next = machine.streams;
        machine.streams = *stream;
    }
    return done(status);
}

API int cuStreamDestroy_v2(struct stream *handle)
{
    struct stream *stream;
    int status = begin(__func__);
    if (status == SUCCESS)
        status = find_stream(handle, &stream);
    if (status == SUCCESS)
        status = permitted();
    if (status == SUCCESS && (stream->legacy || stream->thread != 0))
        status = INVALID_HANDLE;
    if (status == SUCCESS)
        stream->destroyed = true;
    return done(status);
}

#ifndef FAKE_CUDA_INCOMPLETE
API int cuStreamGetCtx(struct stream *handle, struct context **context)
{
    struct stream *stream;
    int status = begin(__func__);
    if (status == SUCCESS)
        status = find_stream(handle, &stream);
    if (status == SUCCESS)
        *context = stream->context;
    return done(status);
}
#endif

API int cuStreamGetFlags(struct stream *handle, unsigned *flags)
{
    struct stream *stream;
    int status = begin(__func__);
    if (status == SUCCESS)
        status = find_stream(handle, &stream);
    if (status == SUCCESS)
        *flags = stream->flags;
    return done(status);
}

API int cuStreamSynchronize(struct stream *handle)
{
    struct stream *stream;
    int status = begin(__func__);
    if (status == SUCCESS)
        status = find_stream(handle, &stream);
    if (status == SUCCESS)
        status = permitted();
    return done(status);
}

/* ---- captures ---- */

API int cuStreamBeginCapture_v2(struct stream *handle, int mode)
{
    struct stream *stream;
    int status = begin(__func__);
    if (status == SUCCESS)
        status = find_stream(handle, &stream);
    if (status == SUCCESS && stream->legacy)
        status = CAPTURE_UNSUPPORTED;
    if (status == SUCCESS && stream->capture != CAPTURE_NONE)
        status = ILLEGAL_STATE;
    if (status == SUCCESS) {
        stream->capture = CAPTURE_ACTIVE;
        stream->mode = mode;
        stream->capture_thread = thread_id();
    }
    return done(status);
}

API int cuStreamEndCapture(struct stream *handle, void **graph)
{
    struct stream *stream;
    int status = begin(__func__);
    if (status == SUCCESS)
        status = find_stream(handle, &stream);
    if (status == SUCCESS && stream->capture == CAPTURE_NONE)
        status = ILLEGAL_STATE;
    if (status == SUCCESS) {
        *graph = NULL;
        if (stream->capture == CAPTURE_INVALID)
            status = CAPTURE_INVALIDATED;
        stream->capture = CAPTURE_NONE;
    }
    return done(status);
}

API int cuStreamIsCapturing(struct stream *handle, int *capturing)
{
    struct stream *stream;
    int status = begin(__func__);
    if (status == SUCCESS)
        status = find_stream(handle, &stream);
    if (status == SUCCESS && stream->legacy)
        status = implicit_capture(stream, false);
    if (status == SUCCESS)
        *capturing = stream->capture;
    return done(status);
}

API int fake_cuInvalidateCapture(struct stream *handle)
{
    struct stream *stream;
    int status = begin(__func__);
    if (status == SUCCESS)
        status = find_stream(handle, &stream);
    if (status == SUCCESS && stream->capture == CAPTURE_NONE)
        status = ILLEGAL_STATE;
    if (status == SUCCESS)
        stream->capture = CAPTURE_INVALID;
    return done(status);
}

/* ---- work ---- */

static int given_work(struct stream *handle, struct stream **stream)
{
    int status = find_stream(handle, stream);
    if (status == SUCCESS && (*stream)->legacy)
        status = implicit_capture(*stream, true);
    if (status == SUCCESS && (*stream)->capture == CAPTURE_INVALID)
        status = CAPTURE_INVALIDATED;
    return status;
}

/* Work of a known length; `fault` is the error it ends in, or 0. */
API int fake_cuLaunch(int64_t length_ns, int fault, struct stream *handle)
{
    struct stream *stream;
    int status = begin(__func__);
    if (status == SUCCESS)
        status = given_work(handle, &stream);
    if (status == SUCCESS && stream->capture == CAPTURE_NONE) {
        stream->tail_ns = ready_ns(stream) + length_ns;
        if (fault != 0) {
            stream->context->fault = fault;
            stream->context->fault_ns = stream->tail_ns;
        }
    }
    return done(status);
}

/* ---- events ---- */

API int cuEventCreate(struct event **event, unsigned flags)
{
    struct context *context;
    int status = begin(__func__);
    if (status == SUCCESS)
        status = current(&context);
    if (status == SUCCESS)
        status = permitted();
    if (status == SUCCESS) {
        *event = make(sizeof **event);
        (*event)->context = context;
        (*event)->generation = context->generation;
        (*event)->flags = flags;
        (*event)->next = machine.events;
        machine.events = *event;
    }
    return done(status);
}

API int cuEventDestroy_v2(struct event *handle)
{
    struct event *event;
    int status = begin(__func__);
    if (status == SUCCESS)
        status = find_event(handle, &event);
    if (status == SUCCESS)
        status = permitted();
    if (status == SUCCESS)
        event->destroyed = true;
    return done(status);
}

API int cuEventRecord(struct event *handle, struct stream *on)
{
    struct event *event;
    struct stream *stream;
    int status = begin(__func__);
    if (status == SUCCESS)
        status = find_event(handle, &event);
    if (status == SUCCESS)
        status = given_work(on, &stream);
    if (status == SUCCESS && event->context != stream->context)
        status = INVALID_HANDLE;
    if (status == SUCCESS) {
        event->captured = stream->capture != CAPTURE_NONE;
        if (!event->captured) {
            event->recorded = true;
            event->time_ns = stream->tail_ns = ready_ns(stream);
        }
    }
    return done(status);
}

API int cuEventQuery(struct event *handle)
{
    struct event *event;
    int status = begin(__func__);
    if (status == SUCCESS)
        status = find_event(handle, &event);
    if (status == SUCCESS)
        status = permitted();
    if (status == SUCCESS && event->captured)
        status = CAPTURED_EVENT;
    if (status == SUCCESS && event->recorded && now_ns() < event->time_ns)
        status = NOT_READY;
    return done(status);
}

API int cuEventSynchronize(struct event *handle)
{
    struct event *event;
    int status = begin(__func__);
    if (status == SUCCESS)
        status = find_event(handle, &event);
    if (status == SUCCESS)
        status = permitted();
    return done(status);
}

static bool readable(const struct event *event)
{
    return event->recorded && !event->captured && (event->flags & EVENT_DISABLE_TIMING) == 0;
}

/* The context of both events must be the current one. */
static int elapsed(float *ms, struct event *start_handle, struct event *stop_handle, int status)
{
    struct event *start, *stop;
    struct context *context;
    if (status == SUCCESS)
        status = current(&context);
    if (status == SUCCESS)
        status = permitted();
    if (status == SUCCESS)
        status = find_event(start_handle, &start);
    if (status == SUCCESS)
        status = find_event(stop_handle, &stop);
    if (status == SUCCESS && (start->context != context || stop->context != context ||
                              !readable(start) || !readable(stop)))
        status = INVALID_HANDLE;
    if (status == SUCCESS && (now_ns() < start->time_ns || now_ns() < stop->time_ns))
        status = NOT_READY;
    if (status == SUCCESS) {
        int64_t ns = stop->time_ns - start->time_ns;
        int64_t half = ns < 0 ? -RESOLUTION_NS / 2 : RESOLUTION_NS / 2;
        *ms = (float)((double)((ns + half) / RESOLUTION_NS * RESOLUTION_NS) / 1e6);
    }
    return done(status);
}

API int cuEventElapsedTime(float *ms, struct event *start, struct event *stop)
{
    return elapsed(ms, start, stop, begin(__func__));
}

#ifndef FAKE_CUDA_OLD
API int cuEventElapsedTime_v2(float *ms, struct event *start, struct event *stop)
{
    return elapsed(ms, start, stop, begin(__func__));
}
#endif
