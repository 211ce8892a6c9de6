"""Bridges to what programs have already: web servers, loggers, OpenTelemetry.

None of them is loaded unless it is asked for, and each imports the other library only
when it is used:

    gpu_narration.bridges.asgi        middleware: ids in and out, a span a request
    gpu_narration.bridges.logs        logging records become narrations, and narrations records
    gpu_narration.bridges.structlogs  a structlog processor: its events become narrations
    gpu_narration.bridges.otel        a trace's spans to OpenTelemetry
"""
