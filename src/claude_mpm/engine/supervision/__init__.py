"""What watches over a session: turns that stand still, death, excess, budgets, rate limits."""
