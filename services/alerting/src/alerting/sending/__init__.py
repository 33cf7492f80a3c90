"""How deliveries are made: the ledger is read, an attempt recorded, the request sent, its outcome recorded."""
