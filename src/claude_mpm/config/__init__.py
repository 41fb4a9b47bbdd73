"""Who wins, and what may run: settings, trust, the framework, where `claude` is."""
