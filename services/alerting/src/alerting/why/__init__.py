"""Why did somebody (not) get this? Answered from what is stored: the streams ALERTS and DELIVERIES."""
