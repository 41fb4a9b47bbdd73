"""Events in, findings out: tickets, delegations, usage."""
