"""Texts as they should not be.  Behind each line: what is found in it."""

import gpu_narration as gn
from gpu_narration import Narration, NarrationFields, narrate, narrate_error, narrate_fn, trace_tiny
from gpu_narration import narrate as say
from gpu_narration import narration as module

LONG = (
    "Loaded the " + "model, which is large, "
    "and slow to arrive, and has many many layers, all on one device"
)
VAGUE = "Something went wrong"

shout = gn.narrate_error


@narrate_fn(
    action="dispatch",
    human="Dispatched {job_id} in {elapsed_ms}",  # expect: GN205
    error_human="{job_id} was rejected by the pool: {password}",  # expect: GN201 GN401
    cute='"Off I go," said {job_id}',  # expect: GN301
    story="{job_id} left the queue",  # expect: GN302
)
def dispatch(job_id, password): ...


def tell(model, elapsed_ms, error, password, config, request_uuid, level):
    narrate(
        "engine",
        "load",
        model,
        f"Loaded {model}, which took a while as it does on machines with slow or busy disks; {error} {model}",  # expect: GN101
    )
    narrate("engine", "load", human=LONG + ", from a disk")  # expect: GN101
    narrate("engine", "load", human=LONG + ", from a disk", level="warn")
    narrate("engine", "load", human=f"{LONG} and {LONG}", level=level)  # expect: GN101
    say("pool", "dispatch", human="The job was dispatched by the scheduler")  # expect: GN201
    say("pool", "dispatch", human="The job has been dispatched")  # expect: GN202
    module.narrate("pool", "retry", human="The pool will retry")  # expect: GN203
    shout("engine", "load", human=VAGUE)  # expect: GN204
    narrate_error("engine", "load", "x", "An unexpected error occurred")  # expect: GN204
    narrate("engine", "decode", human="Decoded in {}".format(elapsed_ms))  # expect: GN205
    narrate("engine", "decode", human="Decoded, latency: %d" % elapsed_ms)  # noqa: UP031  # expect: GN205
    narrate("pool", "accept", human=f"Accepted {request_uuid}")  # expect: GN206
    narrate("pool", "accept", human="Accepted 018f2a6e-7c3b-7def-8a12-0123456789ab")  # expect: GN206
    narrate("pool", "accept", human="Accepted a job", story="'Ready?' 'Yes.'")  # expect: GN303 GN303
    narrate("auth", "login", human=f"Logged in with {password}")  # expect: GN401
    narrate("auth", "login", human=f"Logged in with {config['api_key']}")  # expect: GN401
    narrate("auth", "login", human=f"Logged in, secret={model}")  # expect: GN401
    narrate("auth", "login", human="Logged in", api_key=model)  # expect: GN402
    narrate("auth", "login", human="Logged in", user=password)  # expect: GN402
    narrate("auth", "login", password, human="Logged in")  # expect: GN402
    narrate("auth", "login", human="Logged in", extra={"access_token": model})  # expect: GN402
    narrate(NarrationFields(actor="a", action="b", human="Failed"), level="error")  # expect: GN204
    Narration("a", "b").human("It will fail").extra(password=1).emit()  # expect: GN203 GN402
    gn.trace_tiny("auth", "check", "user_{}", "Checked {}", password)  # expect: GN401 GN401
    trace_tiny("auth", "check", "", "An error occurred")  # noqa: GN999  # expect: GN003 GN204
    gn.trace_enter("auth", "check", "user={}, password={}", model, model)  # expect: GN401
    narrate("a", "b", human="An error occurred" if model else f"{model} is loaded")  # expect: GN204
