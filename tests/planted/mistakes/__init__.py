"""For each rule: how to check it, and the mistakes people make in it."""
