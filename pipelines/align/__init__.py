"""The align job: rigs from the pairs of an archive, and a page that shows them."""
