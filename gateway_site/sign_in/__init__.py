"""Who comes into the console, and with what behind them."""
