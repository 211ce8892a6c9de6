"""The command ``gpu-narration``; one file a verb."""
