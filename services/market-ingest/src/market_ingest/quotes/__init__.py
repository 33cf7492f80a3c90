"""What exchanges tell beside trades: quotes, funding, tickers. Nothing of the trade feed depends on it."""
