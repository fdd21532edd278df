"""The drivers for event loops: asyncio and trio."""
