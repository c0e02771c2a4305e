"""Quality of inputs: measures of each row, rows that are unusual and hard to use, and measures that predict labels."""
