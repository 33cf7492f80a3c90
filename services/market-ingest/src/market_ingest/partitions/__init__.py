"""Several replicas share the market: who writes which partition, and one clock from what they all report."""
