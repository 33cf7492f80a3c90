"""What every Tocsin service shares: events, subjects, streams, the bus and the service runtime."""
