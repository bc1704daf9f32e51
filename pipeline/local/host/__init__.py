"""The process that owns the emulator and the runtime, and how it is started, found and stopped."""
