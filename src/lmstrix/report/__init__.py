"""What was measured, as one page that works anywhere: a table, plots, a comparison."""
