"""The ablation: variants of the network trained alike and evaluated on the same pairs."""
