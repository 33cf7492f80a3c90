"""The doctor: one small check per thing that may be wrong, each giving findings with a remedy."""
