from fastapi import FastAPI
from mangum import Mangum
from pydantic import BaseModel

app = FastAPI()


class Item(BaseModel):
    name: str
    price: float


@app.get("/items/{item_id}")
def read(item_id: int) -> dict[str, int]:
    return {"id": item_id}


@app.post("/items", status_code=201)
def create(item: Item) -> Item:
    return item


handle = Mangum(app, lifespan="off")
