"""What a plan will take: ledger, memory, hardware."""
