"""Provider simulators: a process of its own that speaks the providers' wire protocols. Imports nothing else of ours."""
