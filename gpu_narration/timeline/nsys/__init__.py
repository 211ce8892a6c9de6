"""GPU work of Nsight Systems and whose it is: pure functions over rows; see docs/nsight.md."""
