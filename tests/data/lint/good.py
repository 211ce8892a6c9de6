"""Texts as they should be, in every form of a call.  The linter finds nothing here."""

import gpu_narration as gn
from gpu_narration import Level, Narration, NarrationFields, narrate, narrate_error, narrate_fn
from gpu_narration import narrate as say

READY = "The model " + "is loaded"
#: 11 characters and five values: 51 as they count.
FULL = "Loaded {} {} {} {} {}"


@narrate_fn(
    action="dispatch",
    human="Dispatched {job_id} to {result.id} in {elapsed_ms} ms",
    error_human="Cannot dispatch {job_id}: {error}",
    cute="{job_id} found a home",
    story='"Who takes {job_id}?" asked the pool. "I do," said {result.id}',
)
def dispatch(job_id, worker): ...


def tell(model, device, elapsed_ms, used_bytes, error, password, request_id):
    narrate("engine", "load", model, READY)
    narrate("engine", "load", model, f"Loaded {model} onto {device} in {elapsed_ms:.1f} ms")
    narrate("engine", "load", human="Read %s in %.1f ms" % (model, elapsed_ms))  # noqa: UP031
    narrate("engine", "load", human=FULL.format(model, device, 1, 2, 3))
    narrate("vram", "rise", human=f"VRAM rose to {used_bytes / 2**30:.1f} GiB, on {device}")
    narrate("vram", "rise", human=f"Moved {elapsed_ms}/{used_bytes} of each")  # noqa: GN205
    narrate("queue", "accept", human="Accepted request; queued at position 3 (ETA 420 ms)")
    narrate("queue", "retry", human="Retrying in 50 ms, attempt 2 of 5")
    narrate("engine", "decode", human="The batch is sorted by length, and the pool is closed")
    narrate("engine", "decode", human="Restarted the worker that was stopped")
    narrate("auth", "login", human="Logged in with a password", has_password=True)
    narrate("tokenizer", "decode", human=f"Next token: {request_id}", token=17, cache_key="layer.3")
    narrate_error("engine", "load", human=f"An error occurred: {error}")
    say("engine", "load", human="Loaded llama-7b", cute="The llama's home, and its 7b 'legs' too")
    gn.narrate(
        "engine",
        "load",
        human="Loaded llama-7b",
        story="“Is there room for me?” asked llama-7b. ‘Don’t worry,’ said gpu0",
        level=Level.WARN,
    )
    narrate(NarrationFields(actor="engine", action="load", human="Loaded llama-7b"))
    Narration("engine", "load").human("Loaded llama-7b").cute("Good morning, llama").emit()
    gn.trace_tiny("auth", "check", "user_{}", "Checked user {} of {}", 1, 2)
    gn.trace_state("pool", "size", "{} → {}", "The pool was emptied by {}", 3, 0, device)
    with gn.span("engine", "prefill", human="Prefill"):
        pass


def other_names(narrate, trace_tiny):
    narrate("engine", "load", human="An error occurred")
    trace_tiny("a", "b", "c", "Something went wrong")


class Logger:
    def narrate(self, human):
        self.narrate(human="Something went wrong")
