"""Several replicas share the evaluation: who judges which instruments, and one mark of what all have judged."""
