"""Replicas of one service share its partitions: who holds which, who may write what, and one clock of what all say."""
